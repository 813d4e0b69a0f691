"""What browsers at the BFF get, how soon, and what each of them costs."""
