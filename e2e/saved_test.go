package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// What docker, podman, skopeo and go-containerregistry save of one image, in their several forms, is one image to
// `sealgate scan`: the packages are the same ones.
func TestScanOfWhatClientsSave(t *testing.T) {
	kit := need(t, suite.images)
	img := assemble(t, "amd64", nonroot, files(t, map[string][]byte{"hello": kit.programs["amd64"]}), files(t, contents(vulnerable)), files(t, contents(vulnerable)))
	source, dir := kit.sourceOf(t, img), tempDir(t)
	const ref = "sealgate.test/saved:v1"
	at := func(name string) string { return filepath.Join(dir, name) }

	runSkopeo(t, "copy", "oci:"+source.oci()+":image", "docker-archive:"+at("skopeo.tar")+":"+ref).ok(t)
	runSkopeo(t, "copy", "oci:"+source.oci()+":image", "oci-archive:"+at("skopeo-oci.tar")+":v1").ok(t)
	runDocker(t, "load", "-i", at("skopeo.tar")).ok(t)
	runDocker(t, "save", "-o", at("docker.tar"), ref).ok(t)
	t.Cleanup(func() { runDocker(t, "rmi", ref).ok(t) })
	runPodman(t, "load", "-i", at("skopeo.tar")).ok(t)
	runPodman(t, "save", "-o", at("podman.tar"), ref).ok(t)
	runPodman(t, "save", "--format", "oci-archive", "-o", at("podman-oci.tar"), ref).ok(t)
	t.Cleanup(func() { podmanClear(t) })
	tag, err := name.NewTag(ref)
	if err == nil {
		err = tarball.WriteToFile(at("crane.tar"), tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	command(t, nil, "gzip", "-k", at("docker.tar")).ok(t)

	want := listedIn(t, source.oci())
	if len(want) < 4 { // three of Debian, one of Go
		t.Fatalf("the layout has the packages %v", want)
	}
	for _, saved := range []string{"skopeo.tar", "skopeo-oci.tar", "docker.tar", "docker.tar.gz", "podman.tar", "podman-oci.tar", "crane.tar"} {
		if got := listedIn(t, at(saved)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", saved, got, want)
		}
	}

	command(t, nil, "/bin/sh", "-c", `exec "$1" scan --storage "$2" - <"$3"`, "sh", suite.sealgate, tempDir(t), at("docker.tar.gz")).ok(t).has(t, "as there is no database")
	command(t, nil, "/bin/sh", "-c", `cat "$3" | "$1" scan --storage "$2" -`, "sh", suite.sealgate, tempDir(t), at("docker.tar")).ok(t).has(t, "as there is no database")
}

func contents(text map[string]string) map[string][]byte {
	all := map[string][]byte{}
	for name, content := range text {
		all[name] = []byte(content)
	}
	return all
}

// listedIn are the packages that a scan lists, by package URLs in their order.
func listedIn(t *testing.T, image string) []string {
	t.Helper()
	var sbom struct{ Components []struct{ PURL string } }
	r := command(t, nil, suite.sealgate, "scan", "--storage", tempDir(t), "-o", "cyclonedx", image).ok(t)
	if err := json.Unmarshal([]byte(r.stdout), &sbom); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range sbom.Components {
		if c.PURL != "" {
			all = append(all, c.PURL)
		}
	}
	slices.Sort(all)
	return all
}
