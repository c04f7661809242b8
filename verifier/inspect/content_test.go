package inspect

import (
	"archive/tar"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/policy"
)

func TestWhatIsInLayersIsFound(t *testing.T) {
	setuid := mode("usr/bin/su", 0o4755)
	caps := with("usr/bin/ping", "x", func(h *tar.Header) {
		h.Mode, h.PAXRecords = 0o755, map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
	})
	hard := func(name, to string) entry {
		return with(name, "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, to })
	}
	device := with("dev/sda", "", func(h *tar.Header) { h.Typeflag, h.Devmajor = tar.TypeBlock, 8 })
	for name, c := range map[string]struct {
		check  policy.Check
		layers [][]entry
		want   []string
	}{
		"setuid":                              {policy.CheckSetuid, [][]entry{{setuid}}, []string{"usr/bin/su: setuid, user 0"}},
		"setgid":                              {policy.CheckSetuid, [][]entry{{mode("a", 0o2755)}}, []string{"a: setgid, group 0"}},
		"setgid that is a lock":               {policy.CheckSetuid, [][]entry{{mode("a", 0o2644)}}, nil},
		"a setgid directory":                  {policy.CheckSetuid, [][]entry{{with("a/", "", func(h *tar.Header) { h.Mode = 0o2775 })}}, nil},
		"a name with a dot in front":          {policy.CheckSetuid, [][]entry{{mode("./usr/bin/su", 0o4755)}}, []string{"usr/bin/su: setuid, user 0"}},
		"an absolute name":                    {policy.CheckSetuid, [][]entry{{mode("/usr//bin/./su", 0o4755)}}, []string{"usr/bin/su: setuid, user 0"}},
		"setuid by a hard link":               {policy.CheckSetuid, [][]entry{{setuid, hard("tmp/x", "usr/bin/su")}}, []string{"usr/bin/su: setuid, user 0", "tmp/x: setuid, user 0"}},
		"setuid, removed":                     {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/bin/.wh.su", "")}}, nil},
		"setuid, its directory removed":       {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/.wh.bin", "")}}, nil},
		"setuid, its directory emptied":       {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/.wh..wh..opq", "")}}, nil},
		"setuid, everything emptied":          {policy.CheckSetuid, [][]entry{{setuid}, {file(".wh..wh..opq", "")}}, nil},
		"setuid, replaced":                    {policy.CheckSetuid, [][]entry{{setuid}, {mode("usr/bin/su", 0o755)}}, nil},
		"setuid, replaced by a directory":     {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/bin/su/", "")}}, nil},
		"setuid, a file above it":             {policy.CheckSetuid, [][]entry{{setuid}, {file("usr", "")}}, nil},
		"setuid, a directory above it":        {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/bin/", "")}}, []string{"usr/bin/su: setuid, user 0, layer 1"}},
		"setuid, removed below":               {policy.CheckSetuid, [][]entry{{file("usr/bin/.wh.su", "")}, {setuid}}, []string{"usr/bin/su: setuid, user 0, layer 2"}},
		"setuid, removed in its own layer":    {policy.CheckSetuid, [][]entry{{setuid, file("usr/bin/.wh.su", "")}}, []string{"usr/bin/su: setuid, user 0"}},
		"setuid, another removed":             {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/bin/.wh.sudo", "")}}, []string{"usr/bin/su: setuid, user 0, layer 1"}},
		"setuid, an old driver's whiteout":    {policy.CheckSetuid, [][]entry{{setuid}, {file("usr/bin/.wh..wh.su", "")}}, []string{"usr/bin/su: setuid, user 0, layer 1"}},
		"setuid through a link, then removed": {policy.CheckSetuid, [][]entry{{link("a", "usr/bin"), mode("a/su", 0o4755)}, {file(".wh.a", "")}}, []string{"a/su: setuid, user 0, layer 1"}},
		"setuid through a lower link":         {policy.CheckSetuid, [][]entry{{link("a", "usr/bin")}, {mode("a/su", 0o4755)}, {file(".wh.a", "")}}, []string{"a/su: setuid, user 0, layer 2"}},

		"capabilities":          {policy.CheckCapabilities, [][]entry{{caps}}, []string{"usr/bin/ping"}},
		"capabilities, removed": {policy.CheckCapabilities, [][]entry{{caps}, {file("usr/bin/.wh.ping", "")}}, nil},
		"a device":              {policy.CheckDevices, [][]entry{{device}}, []string{"dev/sda: 8, 0"}},
		"a writable file":       {policy.CheckWorldWritable, [][]entry{{mode("a", 0o666)}}, []string{"a"}},
		"a writable directory":  {policy.CheckWorldWritable, [][]entry{{with("a/", "", func(h *tar.Header) { h.Mode = 0o777 })}}, []string{"a"}},
		"a sticky directory":    {policy.CheckWorldWritable, [][]entry{{with("tmp/", "", func(h *tar.Header) { h.Mode = 0o1777 })}}, nil},
		"a link":                {policy.CheckWorldWritable, [][]entry{{with("a", "", func(h *tar.Header) { h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, "b", 0o777 })}}, nil},

		"a shell":                   {policy.CheckMinimal, [][]entry{{mode("bin/bash", 0o755), link("bin/sh", "bash")}}, []string{"bin/bash: shell", "bin/sh: shell"}},
		"a debug shell":             {policy.CheckMinimal, [][]entry{{mode("busybox/busybox", 0o755), hard("busybox/sh", "busybox/busybox")}}, []string{"busybox/busybox: shell", "busybox/sh: shell"}},
		"a package manager":         {policy.CheckMinimal, [][]entry{{mode("usr/bin/dpkg", 0o755), mode("sbin/apk", 0o755)}}, []string{"usr/bin/dpkg: package manager", "sbin/apk: package manager"}},
		"completions and cron jobs": {policy.CheckMinimal, [][]entry{{file("usr/share/bash-completion/completions/apt", "x"), mode("etc/cron.daily/dpkg", 0o755)}}, nil},
		"a shell, removed":          {policy.CheckMinimal, [][]entry{{mode("bin/sh", 0o755)}, {file("bin/.wh.sh", "")}}, nil},

		"apt's lists":          {policy.CheckCaches, [][]entry{{file("var/lib/apt/lists/deb_main", "x"), file("var/lib/apt/lists/lock", "")}}, []string{"var/lib/apt/lists/deb_main"}},
		"apt's lists, removed": {policy.CheckCaches, [][]entry{{file("var/lib/apt/lists/deb_main", "x")}, {file("var/lib/apt/.wh.lists", "")}}, nil},
		"pip's cache":          {policy.CheckCaches, [][]entry{{file("root/.cache/pip/http/a", "x")}}, []string{"root/.cache/pip/http/a"}},

		"absolute":                 {policy.CheckPaths, [][]entry{{file("/a", "")}}, []string{"a: absolute"}},
		"twice":                    {policy.CheckPaths, [][]entry{{file("a", "1"), file("./a", "2")}}, []string{"a: there twice"}},
		"a directory twice":        {policy.CheckPaths, [][]entry{{file("a/", ""), file("a/", "")}}, nil},
		"below a link":             {policy.CheckPaths, [][]entry{{link("a", "/etc"), file("a/passwd", "")}}, []string{"a/passwd: below a link or file of the same layer"}},
		"below what becomes one":   {policy.CheckPaths, [][]entry{{file("a/passwd", ""), link("a", "/etc")}}, []string{"a: a file with files below it"}},
		"far below a link":         {policy.CheckPaths, [][]entry{{link("a", "/"), file("a/etc/x/y", "")}}, []string{"a/etc/x/y: below a link or file of the same layer"}},
		"above the root":           {policy.CheckPaths, [][]entry{{link("a/b", "../../etc/shadow")}}, []string{"a/b: a link that leads above the root"}},
		"an absolute link":         {policy.CheckPaths, [][]entry{{link("a", "/etc/alternatives/b"), link("bin/c", "../usr/bin/c")}}, nil},
		"a hard link through one":  {policy.CheckPaths, [][]entry{{link("a", "/etc"), hard("b", "a/shadow")}}, []string{"b: a hard link through a link"}},
		"a removed directory anew": {policy.CheckPaths, [][]entry{{file(".wh.a", ""), file("a/b", "")}}, nil},
	} {
		var layers []blob
		for _, entries := range c.layers {
			layers = append(layers, plainly(t, entries...))
		}
		if got := findingsOf(t, c.check, layers...); !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// What profiles are told by: what a program is for, and how much there is.
func TestProgramsAndEntriesAreCounted(t *testing.T) {
	s := store{}
	image := inspectAll(t, s, build(t, s, "",
		plainly(t, file("bin/", ""), mode("bin/dash", 0o755), file("bin/sh", "")), plainly(t, mode("usr/bin/apk", 0o755), file("bin/.wh.sh", ""))))
	kinds := map[string]policy.ProgramKind{}
	for _, f := range image.Content.Findings {
		kinds[f.Path] = f.Kind
	}
	if want := map[string]policy.ProgramKind{"bin/dash": policy.Shell, "usr/bin/apk": policy.PackageManager}; !maps.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
	if image.Content.Entries != 5 {
		t.Errorf("counted %d entries, want 5", image.Content.Entries)
	}
}

func TestThreat152_FindingsAreBounded(t *testing.T) {
	var entries []entry
	for n := range maxFindings + 50 {
		entries = append(entries, mode(fmt.Sprintf("bin/%03d", n), 0o4755))
	}
	s := store{}
	content := inspectAll(t, s, build(t, s, "", plainly(t, entries...))).Content
	if len(content.Findings) != maxFindings || content.Omitted[policy.CheckSetuid] != 50 {
		t.Errorf("got %d findings, %v omitted", len(content.Findings), content.Omitted)
	}
}

func TestWhoAUserIsIsReadFromTheImage(t *testing.T) {
	const passwd = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nother:x:7:0::/:/bin/sh\n"
	const group = "root:x:0:\nstaff:x:50:app\nwheel:x:0:\n"
	plain := [][]entry{{file("etc/passwd", passwd), file("etc/group", group)}}
	type want struct {
		uid, gid uint32
		user     string // beginning of why it is unknown
		group    string
	}
	for name, c := range map[string]struct {
		user   string
		layers [][]entry
		want   want
	}{
		"a name":                     {"app", plain, want{1000, 1001, "", ""}},
		"a name for root":            {"toor", plain, want{0, 0, "", ""}},
		"a name and a group":         {"app:staff", plain, want{1000, 50, "", ""}},
		"a name and a number":        {"app:7", plain, want{1000, 7, "", ""}},
		"a number":                   {"1000", plain, want{1000, 1001, "", ""}},
		"a number that is not there": {"4242", plain, want{4242, 0, "", ""}},
		"a number and a group":       {"4242:staff", plain, want{4242, 50, "", ""}},
		"a name that is not there":   {"nobody", plain, want{0, 0, "/etc/passwd does not have it", "/etc/passwd does not have it"}},
		"a group that is not there":  {"app:admins", plain, want{1000, 0, "", "/etc/group does not have it"}},
		"an odd name":                {"app\\nroot", plain, want{0, 0, "it is an odd name", "it is an odd name"}},
		"a name with a sign":         {"+1000", plain, want{0, 0, "it is an odd name", "it is an odd name"}},
		"no passwd":                  {"app", [][]entry{{file("a", "")}}, want{0, 0, "/etc/passwd does not have it", "/etc/passwd"}},
		"a later passwd":             {"app", [][]entry{{file("etc/passwd", passwd)}, {file("etc/passwd", "app:x:0:0::/:\n")}}, want{0, 0, "", ""}},
		"an earlier passwd":          {"app", [][]entry{{file("etc/passwd", "app:x:0:0::/:\n")}, {file("etc/passwd", passwd)}}, want{1000, 1001, "", ""}},
		"a passwd that was removed":  {"app", [][]entry{{file("etc/passwd", passwd)}, {file("etc/.wh.passwd", "")}}, want{0, 0, "/etc/passwd does not have it", "/etc"}},
		"an etc that was emptied":    {"app", [][]entry{{file("etc/passwd", passwd)}, {file("etc/.wh..wh..opq", "")}}, want{0, 0, "/etc/passwd does not have it", "/etc"}},
		"removed and written":        {"app", [][]entry{{file("etc/passwd", "app:x:0:0::/:\n")}, {file("etc/.wh..wh..opq", ""), file("etc/passwd", passwd)}}, want{1000, 1001, "", ""}},
		"two entries that agree":     {"app", [][]entry{{file("etc/passwd", "app:x:5:6::/:\napp:y:5:6::/:\n")}}, want{5, 6, "", ""}},
		"two entries that differ":    {"app", [][]entry{{file("etc/passwd", "app:x:5:5::/:\napp:x:0:0::/:\n")}}, want{0, 0, "/etc/passwd has it twice", "/etc/passwd has it twice"}},
		"an entry without numbers":   {"app", [][]entry{{file("etc/passwd", "app:x:abc:5::/:\n")}}, want{0, 0, "its entry in /etc/passwd is malformed", "its entry"}},
		"an entry that is short":     {"app", [][]entry{{file("etc/passwd", "app:x\n")}}, want{0, 0, "its entry in /etc/passwd is malformed", "its entry"}},
		"a number that is negative":  {"app", [][]entry{{file("etc/passwd", "app:x:-1:5::/:\n")}}, want{0, 0, "its entry in /etc/passwd is malformed", "its entry"}},
		"a number that wraps around": {"app", [][]entry{{file("etc/passwd", "app:x:4294967296:5::/:\n")}}, want{0, 0, "its entry in /etc/passwd is malformed", "its entry"}},
		"spaces around an entry":     {"app", [][]entry{{file("etc/passwd", "  app:x:0:0::/:  \n")}}, want{0, 0, "", ""}},
		"a passwd that is a link":    {"app", [][]entry{{file("etc/passwd", passwd)}, {link("etc/passwd", "other")}}, want{0, 0, "its /etc/passwd or /etc/group is no plain file", "its"}},
		"a passwd that is twice":     {"app", [][]entry{{file("etc/passwd", passwd), file("etc/passwd", passwd)}}, want{0, 0, "its /etc/passwd or /etc/group is no plain file", "its"}},
		"an etc that is a link":      {"app", [][]entry{{link("etc", "x"), file("x/passwd", passwd), file("etc/passwd", passwd)}}, want{0, 0, "its /etc/passwd or /etc/group may be written", "its"}},
		"written through a link":     {"app", [][]entry{{file("etc/passwd", passwd), link("a", "/etc"), file("a/passwd", "app:x:0:0::/:\n")}}, want{0, 0, "its /etc/passwd or /etc/group may be written", "its"}},
		"through a lower link":       {"app", [][]entry{{file("etc/passwd", passwd), link("a", "/")}, {file("a/etc/passwd", "app:x:0:0::/:\n")}}, want{0, 0, "its /etc/passwd or /etc/group may be written", "its"}},
		"another file of that name":  {"app", [][]entry{{file("etc/passwd", passwd), file("etc/pam.d/passwd", ""), mode("usr/bin/passwd", 0o4755)}}, want{1000, 1001, "", ""}},
		"a passwd of 2 MiB":          {"app", [][]entry{{file("etc/passwd", passwd+strings.Repeat("#\n", 1<<20))}}, want{0, 0, "its /etc/passwd or /etc/group is no plain file", "its"}},
	} {
		var layers []blob
		for _, entries := range c.layers {
			layers = append(layers, plainly(t, entries...))
		}
		s := store{}
		image := inspectAll(t, s, build(t, s, `{"User":"`+c.user+`"}`, layers...))
		a := image.Account
		if a == nil {
			t.Errorf("%s: no account: %+v", name, image.Content.Flaws)
			continue
		}
		if a.UserUnknown == "" && a.UID != c.want.uid || a.GroupUnknown == "" && a.GID != c.want.gid ||
			!strings.HasPrefix(a.UserUnknown, c.want.user) || (a.UserUnknown == "") != (c.want.user == "") ||
			!strings.HasPrefix(a.GroupUnknown, c.want.group) || (a.GroupUnknown == "") != (c.want.group == "") {
			t.Errorf("%s: got %+v, want %+v", name, *a, c.want)
		}
	}
}

func TestTheSystemIsNamedByItsRelease(t *testing.T) {
	const debian, alpine = "ID=debian\nVERSION_ID=\"12\"\n", "# a comment\nNAME=x\nID='alpine'\nVERSION_ID=3.19.1\nSUPPORT_END=2025-11-01\n"
	ended := time.Date(2025, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		layers [][]entry
		want   policy.System
	}{
		"a file":              {[][]entry{{file("etc/os-release", debian)}}, policy.System{ID: "debian", Version: "12"}},
		"a link":              {[][]entry{{link("etc/os-release", "../usr/lib/os-release"), file("usr/lib/os-release", alpine)}}, policy.System{ID: "alpine", Version: "3.19.1", SupportEnd: ended}},
		"the later one":       {[][]entry{{file("etc/os-release", debian)}, {file("etc/os-release", alpine)}}, policy.System{ID: "alpine", Version: "3.19.1", SupportEnd: ended}},
		"one that is removed": {[][]entry{{file("etc/os-release", debian)}, {file("etc/.wh.os-release", "")}}, policy.System{}},
		"none":                {[][]entry{{file("a", "")}}, policy.System{}},
	} {
		var layers []blob
		for _, entries := range c.layers {
			layers = append(layers, plainly(t, entries...))
		}
		s := store{}
		if got := inspectAll(t, s, build(t, s, "", layers...)).Content.System; got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestTheConfigurationIsRead(t *testing.T) {
	s := store{}
	config := `{"created":"2026-01-02T03:04:05.678Z","config":{"User":"1","Env":["PATH=/bin","NPM_TOKEN=abcdef0123","DB_PASSWORD_FILE=/run/secrets/db","MYSQL_ALLOW_EMPTY_PASSWORD=yes","API_KEY=","GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568"],` +
		`"Labels":{"team":"a"},"ExposedPorts":{"8080/tcp":{},"22/tcp":{}},"Volumes":{"/data":{},"/etc/":{}}},` +
		`"rootfs":{"diff_ids":[]},"history":[{"created_by":"|1 GH_TOKEN=hunter2 /bin/sh -c make"},{"created_by":"RUN x"}]}`
	m := image(t, s, config, nil)
	got, err := Inspector{Blobs: s}.Inspect(t.Context(), "prod/app", m, policy.ImageNeeds{Config: true})
	if err != nil || got.Content != nil || got.Config == nil {
		t.Fatalf("got %+v, %v", got, err)
	}
	var found []string
	for _, f := range got.Config.Findings {
		found = append(found, string(f.Check)+" "+f.Path+" "+f.What)
	}
	want := []string{"secrets config.Env NPM_TOKEN secret-variable", "secrets history[0] secret-variable", "ports config.ExposedPorts 22/tcp SSH", "volumes config.Volumes /etc/ "}
	if !slices.Equal(found, want) || got.Config.Labels["team"] != "a" || !got.Config.Created.Equal(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)) {
		t.Errorf("got %q, %+v", found, got.Config)
	}
}
