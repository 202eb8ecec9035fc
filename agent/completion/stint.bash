# Completes the words of `stint` in bash. Commands and options are those that the program's own --help names, so a
# program of another version has its own; neither the agent nor the database is asked.
# shellcheck shell=bash

# Commands, one a line, of the help on standard input.
_stint_commands() {
	sed -n '/^Commands$/,/^$/s/^  \([a-z][a-z-]*\)  *.*/\1/p'
}

# Options, "--NAME" or "--NAME VALUE", one a line: those in the help's first line, and those that begin a line of a
# list.
_stint_options() {
	sed -n -e '/^Usage: /p' -e '/^  --[a-z]/{s/^  //;s/  .*//;p;}' | grep -oE -- '--[a-z][a-z-]*( [A-Z]+)?' | sort -u
}

_stint_values() { # OPTION WORD
	case $1 in
		--socket) compopt -o filenames 2>/dev/null; compgen -f -- "$2" ;;
		--algorithm) compgen -W 'sliding_window fixed_window' -- "$2" ;;
		--mode) compgen -W 'strict relaxed' -- "$2" ;;
	esac
}

_stint() {
	local word words=() path=() awaits='' help
	COMPREPLY=()
	# The shell makes a word of the "=" in --NAME=VALUE.
	for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
		[[ $word == '=' ]] || words+=("$word")
	done
	[[ ${COMP_WORDS[COMP_CWORD]} != '=' ]] || words+=('')

	help=$("$1" --help 2>/dev/null) || return 0
	for word in "${words[@]:0:${#words[@]}-1}"; do
		if [[ -n $awaits ]]; then
			awaits=''
		elif [[ $word == -- ]]; then
			return 0
		elif [[ $word == --* ]]; then
			[[ $'\n'$(_stint_options <<<"$help") != *$'\n'"$word "[A-Z]* ]] || awaits=$word
		elif [[ $'\n'$(_stint_commands <<<"$help")$'\n' == *$'\n'"$word"$'\n'* ]]; then
			path+=("$word")
			help=$("$1" "${path[@]}" --help 2>/dev/null) || return 0
		fi
	done

	word=${words[${#words[@]} - 1]}
	if [[ -n $awaits ]]; then
		mapfile -t COMPREPLY < <(_stint_values "$awaits" "$word")
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_stint_options <<<"$help" | cut -d' ' -f1)" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -W "$(_stint_commands <<<"$help")" -- "$word")
	fi
}

complete -F _stint stint
