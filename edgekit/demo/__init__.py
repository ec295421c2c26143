"""`edgekit demo BUNDLE`: a page on this machine that runs the bundle in the browser."""
