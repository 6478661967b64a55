# bash completion for apikeyctl; the words come from the program's own tables.
_apikeyctl() {
    local current=${COMP_WORDS[COMP_CWORD]} word words=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || words+=("$word")
    done
    case ${COMP_WORDS[COMP_CWORD-1]} in
    --socket | --config | --from-file | -s | -c)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    --active)
        mapfile -t COMPREPLY < <(compgen -W "yes no" -- "$current")
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --words "${words[@]}" 2>/dev/null)" \
            -- "$current")
        ;;
    esac
}
complete -F _apikeyctl apikeyctl
