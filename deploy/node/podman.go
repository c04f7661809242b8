package node

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Where podman, buildah and skopeo read their configuration; a file in the home directory takes the place of the system's.
const (
	registriesConf  = "/etc/containers/registries.conf"
	registriesConfD = "/etc/containers/registries.conf.d"
	policyJSON      = "/etc/containers/policy.json"
)

// podmanRegistry is one [[registry]].
type podmanRegistry struct {
	file             string
	line             int
	prefix, location string
	blocked          bool
	mirrors          []podmanMirror
}

type podmanMirror struct {
	line     int
	location string
}

// podmanConfig is what all files together say.
type podmanConfig struct {
	registries map[string]podmanRegistry // by prefix; a later file replaces an earlier
	search     []string
	searchFile string
	searchLine int
	aliases    []podmanAliases
	found      []Finding
}

type podmanAliases struct {
	file    string
	line    int
	targets []string
}

// Podman reads the configuration of podman, buildah and skopeo. hosts are the registries that images of interest are named
// after.
func (n Node) Podman(gw Gateway, hosts []string) []Finding {
	c := n.podmanConfig()
	found := c.found
	meant := c.search != nil && slices.ContainsFunc(c.search, gw.is)
	for _, prefix := range slices.Sorted(maps.Keys(c.registries)) {
		r := c.registries[prefix]
		found = append(found, r.judge(gw)...)
		meant = meant || !gw.is(r.prefix) && r.goesTo(gw)
	}
	for _, host := range slices.Sorted(slices.Values(hosts)) {
		if f := c.around(gw, host); f != nil {
			if meant {
				f.Grade = GoesAround
			}
			found = append(found, *f)
		}
	}
	found = append(found, c.shortNames(gw)...)
	return append(found, n.podmanPolicy()...)
}

// judge finds where a refusal of the gateway leads for the images of one [[registry]].
func (r podmanRegistry) judge(gw Gateway) (found []Finding) {
	for _, mirror := range r.mirrors {
		switch {
		case r.blocked:
		case gw.is(mirror.location) && !gw.is(r.location):
			found = append(found, Finding{
				Grade: FallsBack, File: r.file, Line: mirror.line, What: fmt.Sprintf("the gateway is a mirror of %s", r.location),
				Why: "podman asks the registry itself after every mirror that refuses", Fix: fmt.Sprintf("no mirror, and location = %q", gw.Host()+"/"+r.prefix),
			})
		case gw.is(r.location) && !gw.is(mirror.location):
			found = append(found, Finding{
				Grade: GoesAround, File: r.file, Line: mirror.line, What: fmt.Sprintf("%s is a mirror of the gateway", mirror.location),
				Why: "mirrors are asked first, so what the gateway would refuse comes from there", Fix: "take the mirror out",
			})
		}
	}
	return found
}

func (r podmanRegistry) goesTo(gw Gateway) bool {
	return gw.is(r.location) || slices.ContainsFunc(r.mirrors, func(m podmanMirror) bool { return gw.is(m.location) })
}

// around finds that images of a registry never come to the gateway.
func (c podmanConfig) around(gw Gateway, host string) *Finding {
	r, ok := c.match(host)
	if gw.is(host) && (!ok || gw.is(r.location)) || ok && (r.blocked || r.goesTo(gw)) {
		return nil
	}
	f := &Finding{
		Grade: Notable, File: registriesConf, What: fmt.Sprintf("nothing sends %s to the gateway", host),
		Why: "images that are named after it are pulled from there, and the gateway is not asked",
		Fix: "name the gateway in the image, or: sealgate clients podman",
	}
	if ok {
		f.File, f.Line = r.file, r.line
	}
	return f
}

// match is the registry of the longest prefix.
func (c podmanConfig) match(name string) (best podmanRegistry, ok bool) {
	for prefix, r := range c.registries {
		exact := name == prefix || strings.HasPrefix(name, prefix) && strings.ContainsAny(name[len(prefix):len(prefix)+1], "/:@")
		wild := strings.HasPrefix(prefix, "*.") && strings.HasSuffix(strings.SplitN(name, "/", 2)[0], prefix[1:])
		if (exact || wild) && (!ok || len(prefix) > len(best.prefix)) {
			best, ok = r, true
		}
	}
	return best, ok
}

// shortNames finds where names without a registry lead.
func (c podmanConfig) shortNames(gw Gateway) (found []Finding) {
	if !slices.ContainsFunc(c.search, gw.is) {
		return nil
	}
	if slices.ContainsFunc(c.search, func(s string) bool { return !gw.is(s) }) {
		found = append(found, Finding{
			Grade: FallsBack, File: c.searchFile, Line: c.searchLine, What: "unqualified-search-registries has others beside the gateway: " + strings.Join(c.search, ", "),
			Why: "a name without a registry is tried at each of them, until one gives it", Fix: fmt.Sprintf("unqualified-search-registries = [%q]", gw.Host()),
		})
	}
	for _, a := range c.aliases {
		outside := 0
		for _, target := range a.targets {
			if r, ok := c.match(target); !gw.is(target) && !(ok && (r.blocked || gw.is(r.location))) {
				outside++
			}
		}
		if outside > 0 {
			found = append(found, Finding{
				Grade: Notable, File: a.file, Line: a.line, What: fmt.Sprintf("%d short names are aliases for images that do not come through the gateway", outside),
				Why: "an alias is taken before unqualified-search-registries is", Fix: "rewrite the registries that they name: sealgate clients podman",
			})
		}
	}
	return found
}

func (n Node) podmanConfig() podmanConfig {
	c := podmanConfig{registries: map[string]podmanRegistry{}}
	main := registriesConf
	if own := filepath.Join(n.Home, ".config/containers/registries.conf"); n.Home != "" && exists(n.path(own)) {
		main = own
	}
	files := []string{main}
	for _, directory := range []string{registriesConfD, filepath.Join(n.Home, ".config/containers/registries.conf.d")} {
		if directory == registriesConfD || n.Home != "" {
			drops, _ := filepath.Glob(filepath.Join(n.path(directory), "*.conf"))
			files = append(files, drops...)
		}
	}
	files = append(files, "/var/cache/containers/short-name-aliases.conf")
	if n.Home != "" {
		files = append(files, filepath.Join(n.Home, ".cache/containers/short-name-aliases.conf"))
	}
	for _, file := range files[:min(len(files), maxImports)] {
		c.take(n, file)
	}
	return c
}

// take puts what one file says over what those before it said.
func (c *podmanConfig) take(n Node, file string) {
	content, path, err := n.read(file)
	if absent(err) {
		return
	}
	if err != nil {
		c.found = append(c.found, unreadable(path, err))
		return
	}
	d, line, err := parseTOML(content)
	if err != nil {
		c.found = append(c.found, Finding{
			Grade: Unreadable, File: path, Line: line, What: "is no TOML: " + shorten(err.Error()),
			Why: "podman pulls nothing with it", Fix: "correct it",
		})
		return
	}
	for i, table := range tablesOf(d.values, "registry") {
		r := podmanRegistry{
			file: path, line: d.line("registry", fmt.Sprintf("[%d]", i)),
			prefix: stringOf(table, "prefix"), location: stringOf(table, "location"), blocked: table["blocked"] == true,
		}
		if r.prefix == "" {
			r.prefix = r.location
		}
		if r.location == "" {
			r.location = r.prefix
		}
		for j, mirror := range tablesOf(table, "mirror") {
			at := []string{"registry", fmt.Sprintf("[%d]", i), "mirror", fmt.Sprintf("[%d]", j)}
			r.mirrors = append(r.mirrors, podmanMirror{max(d.line(append(at, "location")...), d.line(at...)), stringOf(mirror, "location")})
		}
		c.registries[r.prefix] = r
	}
	if search, _ := stringsOf(d.values, "unqualified-search-registries"); search != nil {
		c.search, c.searchFile, c.searchLine = search, path, d.line("unqualified-search-registries")
	}
	aliases := podmanAliases{file: path, line: d.line("aliases")}
	for _, value := range d.table("aliases") {
		if target, ok := value.(string); ok {
			aliases.targets = append(aliases.targets, target)
		}
	}
	if len(aliases.targets) > 0 {
		c.aliases = append(c.aliases, aliases)
	}
}

// podmanPolicy reads what podman accepts without a signature of its own kind: from where, that is.
func (n Node) podmanPolicy() []Finding {
	file := policyJSON
	if own := filepath.Join(n.Home, ".config/containers/policy.json"); n.Home != "" && exists(n.path(own)) {
		file = own
	}
	content, path, err := n.read(file)
	if absent(err) {
		return nil // podman then pulls nothing
	}
	if err != nil {
		return []Finding{unreadable(path, err)}
	}
	var policy struct {
		Default []struct {
			Type string `json:"type"`
		} `json:"default"`
	}
	if err := json.Unmarshal(content, &policy); err != nil {
		return []Finding{{
			Grade: Unreadable, File: path, What: "is not what podman reads: " + shorten(err.Error()), Why: "podman pulls nothing with it", Fix: "correct it",
		}}
	}
	for _, d := range policy.Default {
		if d.Type == "insecureAcceptAnything" {
			return []Finding{{
				Grade: Notable, File: path, Line: lineWith(content, "insecureAcceptAnything"), What: "images of every registry are accepted",
				Why: "whoever names another registry than the gateway gets the image from there", Fix: "reject by default, and accept the gateway: sealgate clients podman",
			}}
		}
	}
	return nil
}
