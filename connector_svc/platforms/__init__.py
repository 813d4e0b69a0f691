"""One folder for each platform, behind the port in `base`; `registry` lists them."""
