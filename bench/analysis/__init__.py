"""How fast and how soon workers get analysis tasks, and what the analysis costs a first load."""
