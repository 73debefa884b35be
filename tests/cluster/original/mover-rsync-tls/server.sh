#!/bin/bash
# stunnel, which starts a daemon of rsync for each connection, or diskrsync, until the source has sent the last file.
. /mover-rsync/common.sh
mkdir /tmp/control
address=8000 root=
[[ ! -s /proc/net/if_inet6 ]] || address=:::8000
[[ ${PRIVILEGED_MOVER:-0} == 0 ]] || root=$'uid = 0\ngid = *'
cat > /tmp/rsyncd.conf <<CONFIG
log file = /tmp/rsyncd.log
use chroot = false
numeric ids = true
munge symlinks = true
read only = false
$root
[data]
path = /data
[control]
path = /tmp/control
CONFIG
case $mode in
  filesystem) started='exec = /bin/rsync
execargs = rsync --server --daemon --config=/tmp/rsyncd.conf .' ;;
  block) started='exec = /bin/bash
execargs = bash /mover-rsync-tls/blocks.sh' ;;
esac
cat > /tmp/stunnel.conf <<CONFIG
pid = /tmp/stunnel.pid
output = /tmp/stunnel.log
syslog = no
[rsync]
ciphers = PSK
PSKsecrets = /keys/psk.txt
sslVersionMin = ${SSL_VERSION_MIN:-TLSv1.3}
accept = $address
client = no
$started
CONFIG
stunnel /tmp/stunnel.conf || exit
echo 'Waiting for connection...'
until [[ -e /tmp/control/complete ]]; do sleep .2; done
# The source has yet to hear it.
sleep 1
kill "$(< /tmp/stunnel.pid)"
# Upstream's has a list of them from the source.
[[ $mode == block ]] || find /data -xdev -type l -lname '/rsyncd-munged/*' -printf '%T@\0%U:%G\0%p\0' |
  while IFS= read -rd '' time && IFS= read -rd '' owner && IFS= read -rd '' link; do
    target=$(readlink -n -- "$link" && echo .)
    target=${target%.}
    ln -sfnT -- "${target#/rsyncd-munged/}" "$link"
    chown -h -- "$owner" "$link" || true
    touch -h -d "@$time" -- "$link"
  done
flush
echo 'Sync complete, exiting.'
