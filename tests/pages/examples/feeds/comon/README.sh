# The page is about its own folder.
cd examples/feeds/comon
