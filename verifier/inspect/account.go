package inspect

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/policy"
)

// ordinary are the names that all readers of accounts read alike.
var ordinary = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// account resolves the configuration's user as runtimes do: by the first entry of that name in /etc/passwd and /etc/group.
// Where a runtime could find another, it says that nobody can tell.
func (fs *filesystem) account(user string) *policy.Account {
	name, group, _ := strings.Cut(user, ":")
	if why := fs.oddAccounts(); why != "" {
		return &policy.Account{UserUnknown: why, GroupUnknown: why}
	}
	a := &policy.Account{}
	passwd := string(fs.file(passwdFile))
	var gid uint32
	switch {
	case isNumber(name):
		a.UID, gid, a.GroupUnknown = numbered(passwd, name)
	case !ordinary.MatchString(name):
		a.UserUnknown = "it is an odd name"
		a.GroupUnknown = a.UserUnknown
	default:
		a.UID, gid, a.UserUnknown = lookup(passwd, name, "/etc/passwd", 3)
		a.GroupUnknown = a.UserUnknown
	}

	switch {
	case group == "":
		a.GID = gid
	case isNumber(group):
		n, err := strconv.ParseUint(group, 10, 32)
		a.GID, a.GroupUnknown = uint32(n), ""
		if err != nil {
			a.GroupUnknown = "it is too large a number"
		}
	case !ordinary.MatchString(group):
		a.GroupUnknown = "it is an odd name"
	default:
		a.GID, _, a.GroupUnknown = lookup(string(fs.file(groupFile)), group, "/etc/group", 2)
	}
	return a
}

// lookup finds a name in a file of accounts. Entries of one name that differ are none: readers take one or the other.
func lookup(file, name, called string, fields int) (id, gid uint32, unknown string) {
	found := false
	for line := range strings.Lines(file) {
		entry := strings.Split(strings.TrimSpace(line), ":")
		if entry[0] != name {
			continue
		}
		numbers, ok := numbersOf(entry, fields)
		switch {
		case !ok:
			return 0, 0, "its entry in " + called + " is malformed"
		case found && (numbers[0] != id || numbers[1] != gid):
			return 0, 0, called + " has it twice"
		}
		found, id, gid = true, numbers[0], numbers[1]
	}
	if !found {
		return 0, 0, called + " does not have it"
	}
	return id, gid, ""
}

// numbersOf reads the numbers of an entry name:password:id or name:password:id:gid.
func numbersOf(entry []string, fields int) (numbers [2]uint32, ok bool) {
	if len(entry) < fields+1 {
		return numbers, false
	}
	for i, text := range entry[2:max(fields+1, 3)] {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || !isNumber(text) || i > 1 {
			return numbers, false
		}
		numbers[i] = uint32(n)
	}
	return numbers, true
}

// numbered finds the group of a user that is given by number: 0 where /etc/passwd does not have it.
func numbered(file, user string) (id, gid uint32, unknown string) {
	n, err := strconv.ParseUint(user, 10, 32)
	if err != nil {
		return 0, 0, "the user is too large a number"
	}
	var groups []uint32
	for line := range strings.Lines(file) {
		entry := strings.Split(strings.TrimSpace(line), ":")
		if len(entry) < 3 {
			continue
		}
		if numbers, ok := numbersOf(entry, 3); !ok {
			return uint32(n), 0, fmt.Sprintf("/etc/passwd is malformed at %s", policy.Printable(entry[0]))
		} else if numbers[0] == uint32(n) && !slices.Contains(groups, numbers[1]) {
			groups = append(groups, numbers[1])
		}
	}
	switch len(groups) {
	case 0:
		return uint32(n), 0, ""
	case 1:
		return uint32(n), groups[0], ""
	}
	return uint32(n), 0, "/etc/passwd has it twice"
}
