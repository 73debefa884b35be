# What stunnel starts for a connection where the volume is a device.
diskrsync --target --no-compress /dev/block && touch /tmp/control/complete
