#!/bin/bash
# rsync or diskrsync over ssh, and what tells the destination to end. rsync's options are those of volsync v0.16.0.
. /mover-rsync/common.sh
host=${DESTINATION_ADDRESS:?}
echo "destination $(< /keys/destination.pub)" > /root/.ssh/known_hosts
cat > /root/.ssh/config <<CONFIG
Host *
  User root
  Port ${DESTINATION_PORT:-22}
  IdentityFile /keys/source
  HostKeyAlias destination
  StrictHostKeyChecking yes
  ConnectTimeout 30
  ServerAliveInterval 30
  ServerAliveCountMax 4
  TCPKeepAlive no
CONFIG
chmod 600 /root/.ssh/config
there=$host
[[ $host != *:* ]] || there="[$host]"
transfer() {
  case $mode in
    filesystem) rsync -aAhHSxz --delete --itemize-changes --info=stats2,misc2 /data/ "$there:." ;;
    block) diskrsync /dev/block "$there:/dev/block" ;;
  esac
}
try transfer
code=$?
echo "Rsync completed in ${SECONDS}s"
[[ $code == 0 ]] || exit "$code"
ssh "$host" shutdown 0
