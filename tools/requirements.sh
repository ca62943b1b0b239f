#!/bin/sh
# Writes the requirements.txt that `sam build` installs into each layer and function, and `docker build` into a task, pinned as in uv.lock.
#
#     sh tools/requirements.sh UV [--check]       --check compares instead of writing
set -eu

uv=$1
mode=${2:-}

# boto3 and botocore are part of the Lambda runtime; the task for large images has no use for them.
requirements() {
    set -- "$1" --prune boto3 --prune botocore
    echo "# Written by make requirements from uv.lock."
    "$uv" export --quiet --frozen --no-hashes --no-annotate --no-header --no-emit-project --only-group "$@"
}

while read -r group file; do
    pinned=$(requirements "$group")
    if [ "$mode" != --check ]; then
        printf '%s\n' "$pinned" >"$file"
    elif ! printf '%s\n' "$pinned" | diff -u "$file" -; then
        echo "$file is not what uv.lock says: run make requirements" >&2
        exit 1
    fi
done <<END
layer-imagelake layers/imagelake/requirements.txt
layer-scripts layers/scripts/requirements.txt
layer-heif layers/heif/requirements.txt
write-catalog functions/write_catalog/requirements.txt
write-catalog functions/compact_catalog/requirements.txt
write-catalog functions/rebuild_catalog/requirements.txt
write-catalog functions/erase_image/requirements.txt
write-catalog functions/audit_retention/requirements.txt
END
