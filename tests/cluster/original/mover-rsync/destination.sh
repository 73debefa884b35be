#!/bin/bash
# OpenSSH's server, in which the source's key may do what `command.sh` allows, until that ends it.
. /mover-rsync/common.sh
echo "restrict,command=\"/mover-rsync/command.sh $mode\" $(< /keys/source.pub)" > /tmp/authorized_keys
cat > /tmp/sshd_config <<'CONFIG'
Port 8022
HostKey /keys/destination
AuthorizedKeysFile /tmp/authorized_keys
StrictModes no
AuthenticationMethods publickey
UsePAM no
PidFile /tmp/sshd.pid
CONFIG
echo 'Waiting for connection...'
/usr/sbin/sshd -D -e -f /tmp/sshd_config
code=255
[[ ! -e /tmp/exit_code ]] || code=$(< /tmp/exit_code)
flush
echo "Exit code: $code"
exit "$code"
