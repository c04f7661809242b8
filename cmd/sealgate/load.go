package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/spf13/viper"
)

// Loaded is a configuration that was read and checked, with where each part of it came from. All of its paths are absolute.
type Loaded struct {
	Config  Config
	Origins map[string]string // what did not come from the file: path -> the variable or flag
	places
}

// Overrides are the flags that stand above file and environment. Empty ones override nothing.
type Overrides struct{ Listen, Admin, Storage string }

// load reads a configuration file, or the defaults where file is empty. The error is of type [Problems] when the
// configuration is at fault, and then holds all of them.
//
// The bytes are read once. They pass [checkYAML] first, which knows lines and types, then a new viper reads and decodes
// the same bytes, strictly as well: what one of them would overlook the other refuses. Nothing is asked of viper later.
func load(file string, overrides Overrides, environment []string) (*Loaded, error) {
	l := &Loaded{Config: defaults(), Origins: map[string]string{}, places: places{file: file}}
	directory := ""
	if file != "" {
		raw, err := safefile.Read(file, maxConfigFile, 0)
		if err != nil {
			return nil, Problems{{File: file, What: fmt.Sprintf("cannot be read: %v", err)}}
		}
		if err := l.read(raw); err != nil {
			return nil, err
		}
		directory = filepath.Dir(file)
	}

	if err := l.resolve(directory); err != nil {
		return nil, err
	}
	if err := l.override(overrides, environment); err != nil {
		return nil, err
	}
	return l, l.validate().orNil()
}

// read puts a file in the place of the defaults. A list replaces its default as a whole.
func (l *Loaded) read(raw []byte) error {
	var problems Problems
	l.places, problems = checkYAML(l.file, raw, reflect.TypeFor[Config]())
	if len(problems) > 0 {
		return problems.orNil()
	}

	standard := l.Config
	l.Config.Registries, l.Config.TrustRoots, l.Config.Authorities, l.Config.Signers, l.Config.Policies = nil, nil, nil, nil, nil
	if err := decodeStrictly(raw, &l.Config); err != nil {
		return Problems{{File: l.file, What: err.Error()}}
	}
	for i := range l.Config.Registries {
		if c := &l.Config.Registries[i].Credentials; *c == (Credentials{}) {
			c.word = noCredentials
		}
	}
	for i := range l.Config.Signers {
		if l.Config.Signers[i].Formats == nil {
			l.Config.Signers[i].Formats = Formats{"auto"}
		}
	}
	if !l.has("clients.anonymous") {
		l.Config.Clients.Anonymous = !l.Config.Clients.knowSomebody()
	}
	if !l.has("registries") {
		l.Config.Registries = standard.Registries
	}
	if !l.has("trust_roots") {
		l.Config.TrustRoots = standard.TrustRoots
	}
	if !l.has("authorities") {
		l.Config.Authorities = standard.Authorities
	}
	if !l.has("signers") {
		l.Config.Signers = standard.Signers
	}
	return nil
}

func decodeStrictly(raw []byte, into any) error {
	v := viper.New()
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(raw)); err != nil {
		return err
	}
	return v.Unmarshal(into, func(d *mapstructure.DecoderConfig) {
		d.ErrorUnused = true
		d.WeaklyTypedInput = false
		d.DecodeHook = mapstructure.ComposeDecodeHookFunc(takeWords, takeMoments, mapstructure.StringToTimeDurationHookFunc())
	})
}

// takeWords decodes a word into a type for which one can stand.
func takeWords(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String || !reflect.PointerTo(to).Implements(wordTakerType) {
		return data, nil
	}
	value := reflect.New(to)
	err := value.Interface().(wordTaker).takeWord(data.(string))
	return value.Elem().Interface(), err
}

// takeMoments decodes what YAML took for a date.
func takeMoments(_, to reflect.Type, data any) (any, error) {
	at, ok := data.(time.Time)
	if !ok || to != momentTag {
		return data, nil
	}
	return Moment(at.Format(time.RFC3339Nano)), nil
}

// resolve makes paths absolute. Those in a file are relative to its directory, the defaults to the working directory.
func (l *Loaded) resolve(directory string) error {
	for path, file := range l.Config.paths() {
		if *file == "" {
			continue
		}
		if l.has(path) && !filepath.IsAbs(*file) {
			*file = filepath.Join(directory, *file)
		}
		absolute, err := filepath.Abs(*file)
		if err != nil {
			return fmt.Errorf("resolve %s: %w", path, err)
		}
		*file = absolute
	}
	return nil
}

// paths are the settings that name files and directories, by their path in the configuration.
func (c *Config) paths() map[string]*string {
	all := map[string]*string{
		"storage.directory":      &c.Storage.Directory,
		"listen.tls.certificate": &c.Listen.TLS.Certificate,
		"listen.tls.key":         &c.Listen.TLS.Key,
		"listen.tls.client_ca":   &c.Listen.TLS.ClientCA,
		"admin.tls.certificate":  &c.Admin.TLS.Certificate,
		"admin.tls.key":          &c.Admin.TLS.Key,
		"admin.tls.client_ca":    &c.Admin.TLS.ClientCA,
		"admin.token_file":       &c.Admin.TokenFile,
		"clients.htpasswd":       &c.Clients.Htpasswd,
	}
	if c.Listen.ACME != nil {
		all["listen.acme.ca_file"] = &c.Listen.ACME.CAFile
	}
	for i := range c.Clients.OIDC {
		all[fmt.Sprintf("clients.oidc[%d].jwks_file", i)] = &c.Clients.OIDC[i].JWKSFile
		all[fmt.Sprintf("clients.oidc[%d].ca_file", i)] = &c.Clients.OIDC[i].CAFile
	}
	for i := range c.Registries {
		all[fmt.Sprintf("registries[%d].credentials.password_file", i)] = &c.Registries[i].Credentials.PasswordFile
		all[fmt.Sprintf("registries[%d].ca_file", i)] = &c.Registries[i].CAFile
		all[fmt.Sprintf("registries[%d].client_certificate", i)] = &c.Registries[i].ClientCertificate
		all[fmt.Sprintf("registries[%d].client_key", i)] = &c.Registries[i].ClientKey
	}
	for i := range c.Authorities {
		a, at := &c.Authorities[i], fmt.Sprintf("authorities[%d]", i)
		all[at+".key.file"] = &a.Key.File
		roots := map[string]*string{at + ".key.trusted_root": &a.Key.TrustedRoot}
		if a.Keyless != nil {
			roots[at+".keyless.trusted_root"] = &a.Keyless.TrustedRoot
		}
		if a.GitHub != nil {
			roots[at+".github.trusted_root"] = &a.GitHub.TrustedRoot
		}
		if a.Certificate != nil {
			roots[at+".certificate.trusted_root"] = &a.Certificate.TrustedRoot
			all[at+".certificate.roots"] = &a.Certificate.Roots
			all[at+".certificate.intermediates"] = &a.Certificate.Intermediates
		}
		for path, root := range roots {
			if !c.isTrustRoot(*root) { // a file of that name is ./public-good
				all[path] = root
			}
		}
	}
	for i := range c.TrustRoots {
		r, at := &c.TrustRoots[i], fmt.Sprintf("trust_roots[%d]", i)
		all[at+".file"] = &r.File
		if r.TUF != nil {
			all[at+".tuf.root"] = &r.TUF.Root
		}
		if r.Instance != nil {
			for kind, files := range map[string][]string{"fulcio": r.Instance.Fulcio, "ct": r.Instance.CT, "tsa": r.Instance.TSA} {
				for j := range files {
					all[fmt.Sprintf("%s.instance.%s[%d]", at, kind, j)] = &files[j]
				}
			}
			for j := range r.Instance.Rekor {
				all[fmt.Sprintf("%s.instance.rekor[%d].key", at, j)] = &r.Instance.Rekor[j].Key
			}
		}
	}
	for i := range c.Signers {
		all[fmt.Sprintf("signers[%d].key.file", i)] = &c.Signers[i].Key.File
		all[fmt.Sprintf("signers[%d].key.password_file", i)] = &c.Signers[i].Key.PasswordFile
		all[fmt.Sprintf("signers[%d].public", i)] = &c.Signers[i].Public
		if k := c.Signers[i].Keyless; k != nil {
			all[fmt.Sprintf("signers[%d].keyless.identity_token_file", i)] = &k.IdentityTokenFile
			if !c.isTrustRoot(k.TrustedRoot) {
				all[fmt.Sprintf("signers[%d].keyless.trusted_root", i)] = &k.TrustedRoot
			}
		}
		if token := c.Signers[i].PKCS11; token != nil {
			all[fmt.Sprintf("signers[%d].pkcs11.module", i)] = &token.Module
			all[fmt.Sprintf("signers[%d].pkcs11.pin_file", i)] = &token.PINFile
		}
	}
	for i := range c.Scanners {
		if own := c.Scanners[i].Embedded; own != nil {
			all[fmt.Sprintf("scanners[%d].embedded.database", i)] = &own.Database
		}
		if adapter := c.Scanners[i].Harbor; adapter != nil {
			all[fmt.Sprintf("scanners[%d].harbor.token_file", i)] = &adapter.TokenFile
		}
	}
	for i := range c.Policies {
		if push := c.Policies[i].Push; push != nil && push.Image.Base != nil {
			all[fmt.Sprintf("policies[%d].push.image.base.approved", i)] = &push.Image.Base.Approved
		}
	}
	return all
}

// isTrustRoot reports whether a name is that of a trust root, and no file.
func (c *Config) isTrustRoot(name string) bool {
	return name == publicGood || slices.ContainsFunc(c.TrustRoots, func(r TrustRoot) bool { return r.Name == name })
}

// Modes of a file with a secret that are too open. A group may read it: that is how Kubernetes mounts secrets for a pod's
// fsGroup.
const tooOpen fs.FileMode = 0o027
