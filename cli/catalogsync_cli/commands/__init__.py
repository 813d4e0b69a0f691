"""One module for each family of commands: read the arguments, make the calls, print the answer."""
