"""Traffic control as netlink messages: qdiscs, classes and filters, as steps and as what the kernel says of them."""
