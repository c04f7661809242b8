package gateway

// The names of the distribution specification, read without regular expressions: every request has one.

// isRepository reports whether a name is a repository's: "<name> MUST match the following regular expression:
// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*" (OCI distribution specification 1.1, pulling
// manifests). Its length is somebody else's to check.
func isRepository(name string) bool {
	start := 0 // of the letters and digits that are being read
	for i := 0; i < len(name); {
		if isLowerOrDigit(name[i]) {
			i++
			continue
		}
		if i == start {
			return false // a component begins with a separator, or two follow each other
		}
		next := afterSeparator(name, i)
		if next == i {
			return false
		}
		i, start = next, next
	}
	return start < len(name)
}

// afterSeparator returns where a separator at i ends: a slash, a dot, one or two underscores, any number of dashes. It returns
// i where there is none.
func afterSeparator(name string, i int) int {
	switch name[i] {
	case '/', '.':
		return i + 1
	case '_':
		if i+1 < len(name) && name[i+1] == '_' {
			return i + 2
		}
		return i + 1
	case '-':
		for i < len(name) && name[i] == '-' {
			i++
		}
	}
	return i
}

func isLowerOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isWord(c byte) bool { return isLowerOrDigit(c) || c >= 'A' && c <= 'Z' || c == '_' }

// isTag reports whether a reference is a tag: "<reference> as a tag MUST be at most 128 characters in length and MUST match
// the following regular expression: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}" (ibid.)
func isTag(reference string) bool {
	for i := range len(reference) {
		if c := reference[i]; !isWord(c) && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return len(reference) >= 1 && len(reference) <= 128
}

// isTicket reports whether an upload's id can be one of ours: base64url.
func isTicket(id string) bool {
	for i := range len(id) {
		if c := id[i]; !isWord(c) && c != '-' {
			return false
		}
	}
	return id != ""
}
