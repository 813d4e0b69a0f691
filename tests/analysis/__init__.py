"""Analysis of item images while workers, replicas and PostgreSQL are killed: what is lost, what is stored late?"""
