"""What a shop sells, free of any platform's API: the generated, mutable catalog that both faces show."""
