# Completes the words of `stint` in bash. Commands and options are those that the program's own --help names, so a
# program of another version has its own. Policies are those that the database has, or else the agent; both are asked
# for a second at most, and are left out when they don't answer.
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

# Names of policies, one a line. The settings that are on the command line hold here, too.
_stint_policies() { # STINT [SETTING...]
	{
		timeout 1 "$@" policy list --json || timeout 1 "$@" status --json
	} 2>/dev/null </dev/null | sed -n 's/^ *"name": "\([A-Za-z0-9_.:\/-]*\)",*$/\1/p'
}

# Whether the argument behind so many others is a policy, by the help on standard input.
_stint_is_policy() { # COUNT
	local usage words
	IFS= read -r usage
	read -ra words <<<"$(sed -E 's/^Usage: stint( [a-z]+)*//; s/ \[--.*//; s/ --.*//; s/[][]//g' <<<"$usage")"
	[[ ${words[$1]:-} == POLICY || ${words[$1]:-} == NAME ]]
}

_stint_values() { # OPTION WORD
	case $1 in
		--socket) compopt -o filenames 2>/dev/null; compgen -f -- "$2" ;;
		--algorithm) compgen -W 'sliding_window fixed_window' -- "$2" ;;
		--mode) compgen -W 'strict relaxed' -- "$2" ;;
	esac
}

_stint() {
	local word words=() path=() settings=() last joins='' arguments=0 awaits='' help
	COMPREPLY=()
	# The shell makes a word of the "=" in --NAME=VALUE, and of one in a value.
	for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
		last=$((${#words[@]} - 1))
		if [[ $word == '=' && $last -ge 0 && ${words[last]} == --* ]]; then
			words+=('')
			joins=yes
		elif [[ $last -ge 0 && ( $word == '=' || -n $joins ) ]]; then
			words[last]+=$word
			joins=''
			[[ $word != '=' ]] || joins=yes
		else
			words+=("$word")
		fi
	done

	help=$("$1" --help 2>/dev/null) || return 0
	for word in "${words[@]:0:${#words[@]}-1}"; do
		if [[ -n $awaits ]]; then
			[[ $awaits != --socket && $awaits != --database ]] || settings+=("$awaits" "$word")
			awaits=''
		elif [[ $word == -- ]]; then
			return 0
		elif [[ $word == --* ]]; then
			[[ $'\n'$(_stint_options <<<"$help") != *$'\n'"$word "[A-Z]* ]] || awaits=$word
		elif [[ $'\n'$(_stint_commands <<<"$help")$'\n' == *$'\n'"$word"$'\n'* ]]; then
			path+=("$word")
			help=$("$1" "${path[@]}" --help 2>/dev/null) || return 0
		else
			arguments=$((arguments + 1))
		fi
	done

	word=${words[${#words[@]} - 1]}
	if [[ -n $awaits ]]; then
		mapfile -t COMPREPLY < <(_stint_values "$awaits" "$word")
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_stint_options <<<"$help" | cut -d' ' -f1)" -- "$word")
	elif _stint_is_policy "$arguments" <<<"$help"; then
		mapfile -t COMPREPLY < <(compgen -W "$(_stint_policies "$1" "${settings[@]}")" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -W "$(_stint_commands <<<"$help")" -- "$word")
	fi
}

complete -F _stint stint
