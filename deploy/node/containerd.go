package node

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// ContainerdConfig is where containerd reads its configuration.
const ContainerdConfig = "/etc/containerd/config.toml"

// certsD is where containerd 2 looks for hosts when nothing says where, and what [Final] uses.
const certsD = "/etc/containerd/certs.d"

// registryTables are the tables of CRI's registries: of version 3 of the configuration, of version 2, and of version 1.
var registryTables = [][]string{
	{"plugins", "io.containerd.cri.v1.images", "registry"},
	{"plugins", "io.containerd.grpc.v1.cri", "registry"},
	{"plugins", "cri", "registry"},
}

// Containerd reads containerd's configuration, as a kubelet's images take it, and each hosts.toml below its config_path.
// hosts are the registries that images of interest are named after, such as docker.io. Directories are the node's
// config_path, for clients that have to be told.
func (n Node) Containerd(gw Gateway, hosts []string) (found []Finding, directories []string) {
	configPath, found := n.containerdConfig(gw)
	if configPath == "" {
		configPath = certsD + ":/etc/docker/certs.d" // the default of containerd 2
	}
	directories = filepath.SplitList(configPath)

	names := map[string]bool{}
	for _, host := range append(hosts, gw.Host()) {
		names[host] = true
	}
	for _, directory := range directories {
		below, _ := filepath.Glob(filepath.Join(n.path(directory), "*"))
		for _, path := range below {
			names[hostOfDirectory(filepath.Base(path))] = true
		}
	}
	meant := false // the gateway was meant to answer for others than itself
	seen := map[string]bool{}
	var around []Finding
	for _, host := range slices.Sorted(maps.Keys(names)) {
		h := n.hosts(directories, host, gw)
		meant = meant || h.meant
		for _, f := range h.found {
			if key := fmt.Sprint(f.File, f.Line, f.What); !seen[key] {
				seen[key] = true
				found = append(found, f)
			}
		}
		if h.around != nil {
			around = append(around, *h.around)
		}
	}
	for _, f := range around {
		if meant {
			f.Grade = GoesAround
		}
		found = append(found, f)
	}
	return found, n.paths(directories)
}

func (n Node) paths(list []string) []string {
	var paths []string
	for _, path := range list {
		paths = append(paths, n.path(path))
	}
	return paths
}

// containerdConfig finds config_path and what contradicts it, in the configuration and in what that imports.
func (n Node) containerdConfig(gw Gateway) (configPath string, found []Finding) {
	files := []string{ContainerdConfig}
	for i := 0; i < len(files) && i < maxImports; i++ {
		content, path, err := n.read(files[i])
		if absent(err) && i == 0 {
			continue // containerd runs with its defaults
		}
		if err != nil {
			found = append(found, unreadable(path, err))
			continue
		}
		d, line, err := parseTOML(content)
		if err != nil {
			found = append(found, Finding{
				Grade: Unreadable, File: path, Line: line, What: "is no TOML: " + shorten(err.Error()),
				Why: "containerd does not start with it, or runs with what it read before", Fix: "correct it, and restart containerd",
			})
			continue
		}
		imports, _ := stringsOf(d.values, "imports")
		for _, pattern := range imports {
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(files[i]), pattern)
			}
			matches, _ := filepath.Glob(n.path(pattern))
			files = append(files, matches...)
		}
		for _, place := range registryTables {
			registry := d.table(place...)
			if s := stringOf(registry, "config_path"); s != "" {
				configPath = s
			}
			for _, name := range slices.Sorted(maps.Keys(tableOf(registry, "mirrors"))) {
				found = append(found, legacyMirror(gw, d, path, place, name)...)
			}
		}
	}
	return configPath, found
}

// maxImports bounds the files of one configuration.
const maxImports = 100

// legacyMirror judges a mirror in the way of containerd 1: the original registry always comes last.
func legacyMirror(gw Gateway, d document, path string, place []string, name string) []Finding {
	at := slices.Concat(place, []string{"mirrors", name})
	endpoints, _ := stringsOf(d.table(at...), "endpoint")
	line := max(d.line(append(at, "endpoint")...), d.line(at...))
	if !slices.ContainsFunc(endpoints, gw.isNamed) {
		if gw.is(name) && len(endpoints) > 0 {
			return []Finding{{
				Grade: GoesAround, File: path, Line: line, What: fmt.Sprintf("mirrors of the gateway itself: %s", strings.Join(endpoints, ", ")),
				Why: "they are asked before the gateway is", Fix: "take the mirror out",
			}}
		}
		return nil
	}
	return []Finding{{
		Grade: FallsBack, File: path, Line: line, What: fmt.Sprintf("the gateway is a registry.mirrors endpoint for %q", name),
		Why: "containerd asks the original registry after every mirror that refuses", Fix: "use config_path and a hosts.toml: sealgate clients containerd",
	}}
}

// hostFile is where containerd would go for the images of one registry.
type hostFile struct {
	found  []Finding
	around *Finding // the gateway is not among the hosts
	meant  bool     // it is, for a registry that is not itself
}

// hosts follows containerd: the first directory that is there for the host, else that of _default, in the first root that
// has one; in it hosts.toml, whose server comes last.
func (n Node) hosts(roots []string, host string, gw Gateway) hostFile {
	directory := n.hostDirectory(roots, host)
	if directory == "" {
		if gw.is(host) {
			return hostFile{}
		}
		return hostFile{around: &Finding{
			Grade: Notable, File: strings.Join(n.paths(roots), ":"), What: fmt.Sprintf("no hosts.toml for %s", host),
			Why: "images that are named after it are pulled from there, and the gateway is not asked",
			Fix: "name the gateway in the image, or: sealgate clients containerd",
		}}
	}
	content, path, err := n.read(filepath.Join(directory, "hosts.toml"))
	switch {
	case absent(err) || err == nil && len(content) == 0:
		if gw.is(host) {
			return hostFile{}
		}
		return hostFile{around: &Finding{
			Grade: Notable, File: path, What: fmt.Sprintf("is not there or empty, and its folder decides for %s", host),
			Why: "containerd then asks the original registry, whatever _default says", Fix: "remove the folder, or write the file: sealgate clients containerd",
		}}
	case err != nil:
		return hostFile{found: []Finding{unreadable(path, err)}}
	}
	d, line, err := parseTOML(content)
	if err == nil {
		line, err = checkHosts(d)
	}
	if err != nil {
		return hostFile{meant: true, found: []Finding{{
			Grade: FallsBack, File: path, Line: line, What: "containerd cannot read it: " + shorten(err.Error()),
			Why: "a broken hosts.toml is left aside, with a line in the log, and the original registry is asked",
			Fix: "correct it: sealgate clients containerd prints one that is whole",
		}}}
	}
	return judgeHosts(d, path, host, gw)
}

func judgeHosts(d document, path, host string, gw Gateway) hostFile {
	server := stringOf(d.values, "server")
	listed := slices.Sorted(maps.Keys(d.table("host")))
	atGateway := slices.ContainsFunc(listed, gw.is) || server != "" && gw.is(server)
	if !atGateway && !gw.is(host) {
		return hostFile{around: &Finding{
			Grade: Notable, File: path, What: fmt.Sprintf("decides for %s, and does not name the gateway", host),
			Why: "images that are named after it never come to the gateway", Fix: "sealgate clients containerd",
		}}
	}

	h := hostFile{meant: !gw.is(host)}
	for _, other := range listed {
		if gw.is(other) && d.table("host", other)["skip_verify"] == true {
			h.found = append(h.found, Finding{
				Grade: Notable, File: path, Line: max(d.line("host", other, "skip_verify"), d.line("host", other)), What: "the gateway's certificate is not looked at",
				Why: "who is between can answer in its place, and admit everything", Fix: "take skip_verify out; name the gateway's authority with ca",
			})
		}
		if !gw.is(other) {
			h.found = append(h.found, Finding{
				Grade: FallsBack, File: path, Line: d.line("host", other), What: fmt.Sprintf("%s is a host beside the gateway", other),
				Why: "containerd tries every host in turn, and a refusal by one is not the end", Fix: "leave the gateway as the one host",
			})
		}
	}
	switch {
	case server == "" && !gw.is(host):
		h.found = append(h.found, Finding{
			Grade: FallsBack, File: path, What: "has no server",
			Why: "containerd then asks the original registry after the gateway's refusal", Fix: fmt.Sprintf("server = %q", gw.URL),
		})
	case server != "" && !gw.is(server):
		h.found = append(h.found, Finding{
			Grade: FallsBack, File: path, Line: d.line("server"), What: fmt.Sprintf("server is %s", server),
			Why: "it is asked after the gateway's refusal", Fix: fmt.Sprintf("server = %q", gw.URL),
		})
	}
	return h
}

// checkHosts finds what makes containerd leave a hosts.toml aside that is TOML.
func checkHosts(d document) (line int, err error) {
	if server, there := d.values["server"]; there {
		s, ok := server.(string)
		if !ok {
			return d.line("server"), fmt.Errorf("server is no text")
		}
		if _, err := url.Parse(s); err != nil {
			return d.line("server"), fmt.Errorf("server is no URL")
		}
	}
	if _, there := d.values["host"]; there && d.table("host") == nil {
		return d.line("host"), fmt.Errorf("host is no table")
	}
	for _, name := range slices.Sorted(maps.Keys(d.table("host"))) {
		host := d.table("host", name)
		if _, err := url.Parse(name); err != nil {
			return d.line("host", name), fmt.Errorf("%q is no URL", name)
		}
		if host == nil {
			return d.line("host", name), fmt.Errorf("host %q is no table", name)
		}
		if err := checkHost(host); err != nil {
			return max(d.line("host", name, "capabilities"), d.line("host", name)), fmt.Errorf("host %q: %w", name, err)
		}
	}
	if err := checkHost(d.values); err != nil {
		return d.line("capabilities"), err
	}
	return 0, nil
}

func checkHost(host map[string]any) error {
	capabilities, ok := stringsOf(host, "capabilities")
	if !ok {
		return fmt.Errorf("capabilities is no list of texts")
	}
	for _, c := range capabilities {
		if !slices.Contains([]string{"pull", "resolve", "push", "referrers"}, strings.ToLower(c)) {
			return fmt.Errorf("unknown capability %q", c)
		}
	}
	if value, there := host["skip_verify"]; there {
		if _, ok := value.(bool); !ok {
			return fmt.Errorf("skip_verify is neither true nor false")
		}
	}
	return nil
}

// hostDirectory is the folder that decides for a host, empty when none does.
func (n Node) hostDirectory(roots []string, host string) string {
	names := []string{host, "_default"}
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		names = []string{host[:i] + "_" + host[i+1:] + "_", host, "_default"}
	}
	for _, root := range roots {
		for _, name := range names {
			if directory := filepath.Join(root, name); exists(n.path(directory)) {
				return directory
			}
		}
	}
	return ""
}

// hostOfDirectory is the host that a folder is for. _default is for whatever is named nowhere.
func hostOfDirectory(name string) string {
	if host, ok := strings.CutSuffix(name, "_"); ok {
		if i := strings.LastIndexByte(host, '_'); i > 0 {
			return host[:i] + ":" + host[i+1:]
		}
	}
	if name == "_default" {
		return anyHost
	}
	return name
}

// anyHost is a registry that nothing names.
const anyHost = "registry.example"
