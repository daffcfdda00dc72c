# Arguments: the folder, then restic's. Exit codes of its own: 64 no such folder, 65 nothing in it.
folder=$1
shift
[[ -d $folder ]] || exit 64
[[ -n $(find "$folder" -mindepth 1 -maxdepth 1 -print -quit) ]] || exit 65
printf '{"message_type":"begun","at":"%s"}\n' "$EPOCHREALTIME"
polite_restic "$@" -- "$folder" || { code=$?; tell_disk /tmp; exit "$code"; }
