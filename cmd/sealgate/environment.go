package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

const environmentPrefix = "SEALGATE_"

// overridable are the settings that the environment and flags may override: where we listen, what we are called and where
// we store. Never what is admitted, whom we trust or what we sign with; a container's environment is too easy to change
// and too hard to see.
func (c *Config) overridable() map[string]*string {
	return map[string]*string{
		"listen.address":      &c.Listen.Address,
		"listen.external_url": &c.Listen.ExternalURL,
		"admin.address":       &c.Admin.Address,
		"storage.directory":   &c.Storage.Directory,
	}
}

func variable(path string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// override applies environment and flags. An empty variable counts as none.
func (l *Loaded) override(flags Overrides, environment []string) error {
	set := map[string]string{}
	for _, entry := range environment {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, environmentPrefix) && value != "" {
			set[name] = value
		}
	}
	if err := l.refuseOthers(set); err != nil {
		return err
	}

	settings := l.Config.overridable()
	for path, setting := range settings {
		if value, ok := set[variable(path)]; ok {
			*setting, l.Origins[path] = value, variable(path)
		}
	}
	for path, flag := range map[string][2]string{
		"listen.address":    {"--listen", flags.Listen},
		"admin.address":     {"--admin", flags.Admin},
		"storage.directory": {"--storage", flags.Storage},
	} {
		if flag[1] != "" {
			*settings[path], l.Origins[path] = flag[1], flag[0]
		}
	}

	absolute, err := filepath.Abs(l.Config.Storage.Directory)
	if err != nil {
		return fmt.Errorf("resolve storage.directory: %w", err)
	}
	l.Config.Storage.Directory = absolute
	return nil
}

// refuseOthers refuses variables that somebody set to configure what the environment cannot configure, so that nobody
// believes in a setting that has no effect.
func (l *Loaded) refuseOthers(set map[string]string) error {
	passwords := []string{defaultPasswordEnv}
	for _, signer := range l.Config.Signers {
		passwords = append(passwords, signer.Key.PasswordEnv)
		if signer.PKCS11 != nil {
			passwords = append(passwords, signer.PKCS11.PINEnv)
		}
	}
	settings := l.Config.overridable()

	var problems Problems
	for _, name := range sortedKeys(set) {
		if slices.Contains(passwords, name) || slices.ContainsFunc(sortedKeys(settings), func(path string) bool { return variable(path) == name }) {
			continue
		}
		if path := meantBy(name); path != "" {
			problems = append(problems, &Problem{File: "environment", Path: name, What: fmt.Sprintf(
				"%s cannot be set by the environment; unset it and write %[1]s in the configuration file", path)})
		}
	}
	return problems.orNil()
}

// byKubernetes are variables that Kubernetes sets in every pod for a service that is called sealgate or sealgate-admin.
var byKubernetes = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// meantBy is the configuration key that a variable names, empty when it names none. A list is meant by its own name, in
// the plural or singular, and by whatever follows it.
func meantBy(name string) string {
	if byKubernetes.MatchString(name) {
		return ""
	}
	word := strings.ToLower(strings.TrimPrefix(name, environmentPrefix))
	for key, t := range keysOf(reflect.TypeFor[Config]()) {
		singular := strings.TrimSuffix(key, "s")
		if stem, ok := strings.CutSuffix(key, "ies"); ok {
			singular = stem + "y"
		}
		switch {
		case word == key || word == singular:
			return key
		case t.Kind() == reflect.Slice && (strings.HasPrefix(word, key+"_") || strings.HasPrefix(word, singular+"_")):
			return key
		case t.Kind() == reflect.Struct && strings.HasPrefix(word, key+"_"):
			if path := leafMeantBy(strings.TrimPrefix(word, key+"_"), t); path != "" {
				return key + "." + path
			}
		}
	}
	return ""
}

func leafMeantBy(word string, t reflect.Type) string {
	for key, field := range keysOf(t) {
		if word == key {
			return key
		}
		if rest, ok := strings.CutPrefix(word, key+"_"); ok && field.Kind() == reflect.Struct {
			if path := leafMeantBy(rest, field); path != "" {
				return key + "." + path
			}
		}
	}
	return ""
}
