# SPDX-License-Identifier: GPL-2.0-only
# A toy olddefconfig: what .config asks for, as far as the Kconfig allows it.
FNR == NR {
	if (split($0, part, "=") == 2) { sub("CONFIG_", "", part[1]); asked[part[1]] = part[2] }
	next
}
/^config / { name = $2; order[++count] = name; next }
/^\tdepends on / { needs[name] = $3; next }
/^\tdefault / { preset[name] = $2; next }
/^(#|\t(bool|tristate|help)|\t  |$|mainmenu|endmenu|menu)/ { next }
{ print FILENAME ":" FNR ": syntax error" > "/dev/stderr"; failed = 1; exit 1 }
END {
	if (failed) exit 1
	for (i = 1; i <= count; i++) {
		name = order[i]
		value[name] = (name in asked) ? asked[name] : preset[name]
		if ((name in needs) && value[needs[name]] == "" || name == drop) value[name] = ""
		if (value[name] != "" && value[name] != "n") print "CONFIG_" name "=" value[name]
		else { value[name] = ""; print "# CONFIG_" name " is not set" }
	}
}
