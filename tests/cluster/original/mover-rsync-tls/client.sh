#!/bin/bash
# rsync through stunnel to a daemon of rsync, or diskrsync through it. rsync's options are those of volsync v0.16.0.
. /mover-rsync/common.sh
# MORE: writes stunnel's configuration.
tunnel() {
  cat > /tmp/stunnel.conf <<CONFIG
syslog = no
$1
ciphers = PSK
PSKsecrets = /keys/psk.txt
client = yes
connect = ${DESTINATION_ADDRESS:?}:${DESTINATION_PORT:-8000}
CONFIG
}
to=rsync://127.0.0.1:9000
copy_files() {
  local skip=(--exclude=lost+found --info=stats2,misc2)
  # The root itself stays as it is at the destination.
  find /data -mindepth 1 -maxdepth 1 -printf '/%P\0' > /tmp/entries
  rsync -aAhHSxz -r "${skip[@]}" --itemize-changes --from0 --files-from=/tmp/entries /data/ $to/data &&
    rsync -rx "${skip[@]}" --ignore-existing --ignore-non-existing --delete /data/ $to/data &&
    rsync /tmp/entries $to/control/complete
}
copy_blocks() {
  local from to
  coproc stunnel /tmp/stunnel.conf
  # shellcheck disable=SC2153  # the shell's own
  exec {from}<&"${COPROC[0]}" {to}>&"${COPROC[1]}"
  diskrsync --source --no-compress /dev/block <&"$from" >&"$to"
}
case $mode in
  filesystem)
    tunnel $'pid = /tmp/stunnel.pid\noutput = /tmp/stunnel.log\n[rsync]\naccept = 127.0.0.1:9000'
    # It is listening when it leaves the foreground.
    stunnel /tmp/stunnel.conf || exit
    try copy_files
    code=$?
    echo "rsync completed in ${SECONDS}s"
    ;;
  block)
    tunnel $'pid =\nforeground = quiet'
    try copy_blocks
    code=$?
    echo "diskrsync completed in ${SECONDS}s"
    ;;
esac
exit "$code"
