#!/bin/bash
# command.sh filesystem|block: all that a source may have done. rsync's client names the directory that it is in; upstream's
# shuts it up there with rrsync besides.
set -f
case $1:$SSH_ORIGINAL_COMMAND in
  filesystem:rsync\ --server\ *)
    cd /data || exit
    # shellcheck disable=SC2086  # words
    exec $SSH_ORIGINAL_COMMAND
    ;;
  block:diskrsync\ *) exec diskrsync --target /dev/block ;;
  *:shutdown\ [0-9]*)
    echo "${SSH_ORIGINAL_COMMAND#shutdown }" > /tmp/exit_code
    # Not before the answer to this is on its way.
    (sleep 1; kill "$(< /tmp/sshd.pid)") </dev/null >/dev/null 2>&1 &
    ;;
  *) echo "Invalid command: $SSH_ORIGINAL_COMMAND"; exit 1 ;;
esac
