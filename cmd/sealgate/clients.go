package main

import (
	"path/filepath"

	"github.com/sealgate/sealgate/gateway/clients"
)

const (
	maxUsersFile  = 1 << 20 // bytes
	tokenKeysFile = "token-keys.json"
)

// readUsers reads who can log in, nil when nobody can.
func readUsers(l *Loaded) (*clients.Users, Problems) {
	file := l.Config.Clients.Htpasswd
	if file == "" {
		return nil, nil
	}
	raw, err := readBounded(file, maxUsersFile, tooOpen)
	if err != nil {
		return nil, Problems{l.problem("clients.htpasswd", "%s: %v", file, err)}
	}
	users, err := clients.ParseUsers(raw)
	if err != nil {
		return nil, Problems{l.problem("clients.htpasswd", "%s: %v", file, err)}
	}
	return users, nil
}

// openClients makes the directory of who is known, nil when nobody is asked. The desk behind it stays the same, with its
// keys and limits, whatever the configuration becomes.
func (b *builder) openClients(l *Loaded, users *clients.Users) (*clients.Directory, Problems) {
	if users == nil || b.alone {
		return nil, nil
	}
	if b.desk == nil {
		desk, err := clients.OpenDesk(filepath.Join(l.Config.Storage.Directory, tokenKeysFile))
		if err != nil {
			return nil, Problems{l.problem("storage.directory", "%v", err)}
		}
		b.desk = desk
	}
	var groups []clients.Group
	for _, group := range l.Config.Clients.Groups {
		groups = append(groups, clients.Group(group))
	}
	return b.desk.Directory(users, groups, l.Config.Clients.Anonymous), nil
}
