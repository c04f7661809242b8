package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// whyRoot is empty for a user that is certainly not root: a number other than 0, or a name that the image's own files give
// one, whatever the group.
func whyRoot(image Image) string {
	name, _, _ := strings.Cut(image.User, ":")
	switch {
	case name == "" || name == "root":
		return "it runs as root"
	case strings.Trim(name, "0123456789") != "":
		return whyNamedRoot(name, image.Account)
	case strings.Trim(name, "0") == "":
		return "it runs as root (user 0)"
	}
	if _, err := strconv.ParseUint(name, 10, 31); err != nil { // a larger number wraps around to who knows whom
		return fmt.Sprintf("user %.40s is no user number", name)
	}
	return ""
}

func whyNamedRoot(name string, account *Account) string {
	switch {
	case account == nil:
		return fmt.Sprintf("whether user %.40q is root cannot be told from its name", name)
	case account.UserUnknown != "":
		return fmt.Sprintf("whether user %.40q is root cannot be told: %s", name, account.UserUnknown)
	case account.UID == 0:
		return fmt.Sprintf("it runs as root: its /etc/passwd says that user %.40q is 0", name)
	case account.UID > maxID:
		return fmt.Sprintf("user %.40q is %d, which is no user number", name, account.UID)
	}
	return ""
}

// maxID is the largest number that no runtime takes for another one.
const maxID = 1<<31 - 1

// whyRootGroup is empty for a group that is certainly not 0. Without one in the configuration it is the one that the user
// has in /etc/passwd, and 0 for a number that is not there.
func whyRootGroup(image Image) string {
	_, group, written := strings.Cut(image.User, ":")
	if written && group != "" && strings.Trim(group, "0123456789") == "" {
		if strings.Trim(group, "0") == "" {
			return "it runs in group 0"
		}
		if _, err := strconv.ParseUint(group, 10, 31); err != nil {
			return fmt.Sprintf("group %.40s is no group number", group)
		}
		return ""
	}
	account := image.Account
	switch {
	case group == "root" || image.User == "" || strings.HasPrefix(image.User, ":"):
		return "it runs in group 0"
	case account == nil:
		return "its group cannot be told from the configuration"
	case account.GroupUnknown != "":
		return "its group cannot be told: " + account.GroupUnknown
	case account.GID == 0:
		return "it runs in group 0"
	case account.GID > maxID:
		return fmt.Sprintf("its group is %d, which is no group number", account.GID)
	}
	return ""
}
