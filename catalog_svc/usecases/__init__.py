"""What happens: starting, running, following and reading; the ports say what each needs."""
