package inventory

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// built builds a Go program with flags, and returns its bytes. Its module requires nothing that has to be fetched.
func built(t testing.TB, flags ...string) []byte {
	t.Helper()
	source, out := t.TempDir(), filepath.Join(t.TempDir(), "app")
	for name, content := range map[string]string{
		"go.mod": "module example.com/app\n\ngo 1.26\n\nrequire (\n\texample.com/near v1.0.0\n\texample.com/far v0.0.0\n)\n\n" +
			"replace example.com/near => ./near\n\nreplace example.com/far => ./far\n",
		"main.go":     "package main\n\nimport (\n\t\"example.com/far\"\n\t\"example.com/near\"\n)\n\nfunc main() { println(near.X, far.X) }\n",
		"near/go.mod": "module example.com/near\n", "near/x.go": "package near\n\nvar X = 1\n",
		"far/go.mod": "module example.com/far\n", "far/x.go": "package far\n\nvar X = 1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(source, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), ".")...)
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod -buildvcs=false", "GOPROXY=off", "GOOS=linux", "GOARCH=amd64")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Go programs tell their modules, whether they are stripped or not and whatever they are called. One that does not tell is
// told of.
func TestGoPrograms(t *testing.T) {
	app := built(t, "-ldflags=-s -w")
	version := "stdlib"
	taken := take(t, image(t, layer{program("app", app), file("data/not-executable.bin", string(app))}))
	for _, p := range taken.Packages {
		if p.Name == "stdlib" {
			version = "Go/stdlib@" + p.Version
			if !strings.HasPrefix(p.PURL, "pkg:golang/stdlib@1.") || !slices.Equal(p.Locations, []string{"app", "data/not-executable.bin"}) {
				t.Errorf("got %+v", p)
			}
		}
	}
	if got, want := names(taken), []string{"Go/example.com/app@", "Go/example.com/far@", "Go/example.com/near@1.0.0", version}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, p := range taken.Packages {
		if p.Own != (p.Version == "") {
			t.Errorf("own code is what nobody gave a version to; got %+v", p)
		}
	}
	if taken.Programs != 2 || len(taken.Gaps) != 0 {
		t.Errorf("got %d programs, %+v", taken.Programs, taken.Gaps)
	}

	// A program without build information is recognised as nothing, and that is told.
	info := bytes.Index(app, []byte("\xff Go buildinf:"))
	if info < 0 {
		t.Fatal("the program has no build information to take out")
	}
	silent := slices.Clone(app)
	copy(silent[info:], make([]byte, 32))
	taken = take(t, image(t, layer{program("app", silent)}))
	if taken.Recognised() || taken.Programs != 1 || len(taken.Gaps) != 1 || !strings.Contains(taken.Gaps[0].Why, "does not tell its modules") {
		t.Errorf("got %+v", taken)
	}
}

// jar makes a Java archive of files, by name and content in turn.
func jar(t testing.TB, files ...string) string {
	t.Helper()
	var raw bytes.Buffer
	w := zip.NewWriter(&raw)
	for i := 0; i+1 < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.String()
}

// Java archives are read within each other.
func TestJavaArchives(t *testing.T) {
	log4j := jar(t, "META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", "groupId=org.apache.logging.log4j\nartifactId=log4j-core\nversion=2.14.1\n")
	app := jar(t, "BOOT-INF/lib/log4j-core-2.14.1.jar", log4j, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
	taken := take(t, image(t, layer{file("app/app.jar", app)}))
	if !slices.Contains(names(taken), "Maven/org.apache.logging.log4j:log4j-core@2.14.1") {
		t.Errorf("got %q", names(taken))
	}
	if i := slices.IndexFunc(taken.Packages, func(p Package) bool { return strings.HasSuffix(p.Name, "log4j-core") }); taken.Packages[i].PURL != "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1" {
		t.Errorf("got %+v", taken.Packages[i])
	}
}

// The three formats of rpm's database are read, in a child that may open no file.
func TestRPM(t *testing.T) {
	testdata := filepath.Join(moduleOf(t, "github.com/google/osv-scalibr"), "extractor/filesystem/os/rpm/testdata")
	release := file("etc/os-release", "ID=\"rocky\"\nVERSION_ID=\"9.4\"\n")
	for path, from := range map[string]string{
		"var/lib/rpm/rpmdb.sqlite":         "rpmdb.sqlite",
		"usr/lib/sysimage/rpm/Packages.db": "Packages.db",
		"var/lib/rpm/Packages":             "Packages_epoch",
		"usr/share/rpm/rpmdb.sqlite":       "rpmdb.sqlite",
	} {
		raw, err := os.ReadFile(filepath.Join(testdata, from))
		if err != nil {
			t.Fatal(err)
		}
		taken := take(t, image(t, layer{release, file(path, string(raw))}))
		if len(taken.Packages) == 0 || len(taken.Gaps) > 0 {
			t.Errorf("%s: got %d packages, gaps %+v", path, len(taken.Packages), taken.Gaps)
			continue
		}
		for _, p := range taken.Packages {
			if p.Ecosystem != "Rocky Linux:9" || !strings.HasPrefix(p.PURL, "pkg:rpm/rocky/") || p.Version == "" || p.Locations[0] != path {
				t.Errorf("%s: got %+v", path, p)
			}
		}
	}
}

func moduleOf(t testing.TB, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// What nobody can read is told, with where it is and why: an image full of it is not an image without packages.
func TestWhatIsNotUnderstoodIsTold(t *testing.T) {
	release := file("etc/os-release", debian12)
	sparse := file("var/lib/dpkg/status", "")
	for name, c := range map[string]struct {
		layer layer
		want  string
	}{
		"a status that is none":            {layer{release, file("var/lib/dpkg/status", "no: colon\nnonsense\n")}, "malformed MIME header"},
		"a status with another's contents": {layer{release, file("var/lib/dpkg/status", "Nothing: here\n\n")}, "no status field"},
		"a status.d that is none":          {layer{release, file("var/lib/dpkg/status.d/x", "nonsense\n")}, "malformed MIME header"},
		"a package without a name":         {layer{release, file("var/lib/dpkg/status.d/x", "Version: 1\nArchitecture: all\n\n")}, "name or version is empty"},
		"an apk without a version":         {layer{file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.0\n"), file("lib/apk/db/installed", "P:busybox\nA:x86_64\n\n")}, "version is empty"},
		"no os-release":                    {layer{file("var/lib/dpkg/status", deb("bash", "5", ""))}, "osrelease"},
		"a wheel without a name":           {layer{file("x.dist-info/METADATA", "Metadata-Version: 2.1\n\n")}, "Name or Version is empty"},
		"a package.json that is none":      {layer{file("node_modules/x/package.json", "{")}, "unexpected end of JSON"},
		"a jar that is none":               {layer{file("x.jar", strings.Repeat("no zip ", 10))}, "not a valid zip file"},
		"an rpm database that is none":     {layer{release, file("var/lib/rpm/rpmdb.sqlite", "nothing")}, ""},
		"an rpm database with a log":       {layer{release, file("var/lib/rpm/rpmdb.sqlite", "SQLite format 3\x00"+strings.Repeat("\x00", 100)), file("var/lib/rpm/rpmdb.sqlite-wal", "x")}, "write-ahead log"},
		"a gap for each":                   {layer{release, sparse, file("var/lib/dpkg/status.d/x", "nonsense\n"), file("a.jar", strings.Repeat("no zip ", 10))}, "zip"},
	} {
		taken := take(t, image(t, c.layer))
		if len(taken.Gaps) == 0 || !strings.Contains(taken.Gaps[len(taken.Gaps)-1].Why+taken.Gaps[0].Why, c.want) || taken.Gaps[0].Path == "" {
			t.Errorf("%s: got %+v, want %q", name, taken.Gaps, c.want)
		}
	}
	for name, broken := range map[string]entry{
		"a package.json in test data": file("node_modules/resolve/test/malformed/package.json", "{"),
		"an archive's ending":         file("var/log/sysstat/a.sar", strings.Repeat("no zip ", 10)),
		"an empty jar":                file("empty.jar", ""),
		"a gem's source":              file("gems/x/x.gemspec", "Gem::Specification.new do |s|\n s.version = X\nend\n"),
	} {
		if taken := take(t, image(t, layer{broken})); len(taken.Gaps) != 0 {
			t.Errorf("%s is no gap: %+v", name, taken.Gaps)
		}
	}
	if taken := take(t, image(t, layer{file("README", "nothing to see")})); taken.Recognised() || len(taken.Gaps) != 0 || taken.Files != 1 {
		t.Errorf("an image in which nothing is: %+v", taken)
	}
}
