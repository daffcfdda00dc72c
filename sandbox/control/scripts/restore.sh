# Arguments: the folder as it is named in the snapshot, where it shall be, then restic's.
# restic 0.14 can neither replace a link that exists nor leave out the folder's own path. So it writes beside what is
# there, on the same disk, and only a snapshot that came whole takes the place: by hard links, without copying a byte.
folder=$1 target=$2
shift 2
mkdir -p -- "$target" || exit
staging=$target/.dumont-restore
rm -rf -- "$staging" || exit
# The status first: the report on the disk must see it as it was when restic failed.
trap 'code=$?; [[ $code == 0 ]] || tell_disk "$target"; rm -rf -- "$private" "$staging"' EXIT
exec 4>&1
# restic 0.14 does not tell how far a restore has come: what it has written does. Nothing here starts a process.
meanwhile() {
    local name count never
    exec {never}<> <(:)
    while true; do
        while read -r name count; do
            [[ $name != wchar: ]] || printf '{"bytes_done":%d}\n' "$count" >&4
        done <"/proc/$1/io"
        read -r -t 0.5 -u "$never"
    done 2>/dev/null
}
# A cache of its own, for as long as the call lasts: without one, each folder of the snapshot costs a request.
polite_restic "$@" --target "$staging" --cache-dir "$private/cache" >&2 || exit
[[ -d $staging$folder ]] || { echo "the snapshot holds no folder $folder" >&2; exit 1; }
files=$(find "$staging$folder" -type f -printf .  | wc -c)
cp --archive --link --remove-destination -- "$staging$folder/." "$target/" || exit
touch -r "$staging$folder" "$private/time"
rm -rf -- "$staging" || exit
touch -r "$private/time" -- "$target"
printf '{"files_restored":%d}\n' "$files"
