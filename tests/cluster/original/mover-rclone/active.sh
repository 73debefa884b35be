#!/bin/bash
# Environment, commands and flags are those of volsync v0.16.0 (docs/contract.md).
set -e -o pipefail
: "${RCLONE_CONFIG:?}" "${RCLONE_CONFIG_SECTION:?}" "${RCLONE_DEST_PATH:?}" "${DIRECTION:?}"
volume=${MOUNT_PATH:-/data} bucket=$RCLONE_CONFIG_SECTION:$RCLONE_DEST_PATH
flags=(--checksum --one-file-system --create-empty-src-dirs --stats 20s --transfers 10 --log-level DEBUG)
[[ -z ${CUSTOM_CA:-} ]] || flags+=(--ca-cert "$CUSTOM_CA")
lists=/tmp/permissions.facl
case $DIRECTION in
  source)
    find "$volume" -path "$volume/lost+found" -prune -o -print | getfacl -P - > $lists
    rclone sync "${flags[@]}" --exclude 'lost+found/**' "$volume" "$bucket"
    rclone copy "${flags[@]}" --stats-one-line-date --include permissions.facl /tmp "$bucket"
    ;;
  destination)
    rclone sync "${flags[@]}" --exclude 'lost+found/**' --exclude permissions.facl "$bucket" "$volume"
    rclone copy "${flags[@]}" --stats-one-line-date --include permissions.facl "$bucket" /tmp
    setfacl --restore=$lists || true
    ;;
  *) echo "unknown direction $DIRECTION"; exit 1 ;;
esac
sync -f "$volume"
echo "Rclone completed in ${SECONDS}s"
