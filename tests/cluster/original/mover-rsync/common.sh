# What the four movers of rsync share; sourced by them.
set -u -o pipefail
if [[ -d /data ]]; then mode=filesystem volume=/data; else mode=block volume=/dev/block; fi
[[ -e $volume ]] || { echo 'ERROR: neither /data nor /dev/block is there'; exit 1; }
echo "PVC volumeMode is $mode"

flush() { if [[ $mode == filesystem ]]; then sync -f /data; else sync /dev/block; fi; }

# COMMAND...: up to five times, each pause twice as long as the one before.
try() {
  local attempt code
  for attempt in {1..5}; do
    "$@" && return
    code=$?
    echo "$1 ended with $code ($attempt of 5)"
    sleep $((2 ** attempt))
  done
  return "$code"
}
