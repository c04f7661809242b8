package inventory

import (
	"slices"
	"testing"
)

// An image of each kind that people build: what package managers, linkers and installers say of themselves is found.
func TestWhatIsInstalledIsFound(t *testing.T) {
	apk := "P:busybox\nV:1.36.1-r29\nA:x86_64\nL:GPL-2.0-only\no:busybox\n\nP:ssl_client\nV:1.36.1-r29\nA:x86_64\nL:GPL-2.0-only\no:busybox\n\n"
	for name, c := range map[string]struct {
		layers []layer
		want   []string
	}{
		"Debian": {
			[]layer{{file("etc/os-release", debian12), file("var/lib/dpkg/status", deb("libssl3", "3.0.11-1~deb12u2", "openssl")+deb("bash", "5.2.15-2+b2", "bash (5.2.15-2)"))}},
			[]string{"Debian:12/bash@5.2.15-2+b2", "Debian:12/libssl3@3.0.11-1~deb12u2"},
		},
		"distroless": {
			[]layer{
				{file("usr/lib/os-release", debian12), symlink("etc/os-release", "../usr/lib/os-release")},
				{file("var/lib/dpkg/status.d/base", stanza("Package: base-files", "Version: 12.4+deb12u5", "Architecture: amd64"))},
				{file("var/lib/dpkg/status.d/tzdata", stanza("Package: tzdata", "Version: 2024a-0+deb12u1", "Architecture: all")), file("var/lib/dpkg/status.d/tzdata.md5sums", "0 x\n")},
			},
			[]string{"Debian:12/base-files@12.4+deb12u5", "Debian:12/tzdata@2024a-0+deb12u1"},
		},
		"Alpine": {
			[]layer{{file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n"), file("lib/apk/db/installed", apk)}},
			[]string{"Alpine:v3.20/busybox@1.36.1-r29", "Alpine:v3.20/ssl_client@1.36.1-r29"},
		},
		"npm": {
			[]layer{{file("app/node_modules/lodash/package.json", `{"name": "lodash", "version": "4.17.20", "license": "MIT"}`), file("app/node_modules/@scope/x/package.json", `{"name": "@scope/x", "version": "1.0.0"}`)}},
			[]string{"npm/@scope/x@1.0.0", "npm/lodash@4.17.20"},
		},
		"Python": {
			[]layer{{file("usr/lib/python3/site-packages/requests-2.25.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: requests\nVersion: 2.25.0\n\ntext\n")}},
			[]string{"PyPI/requests@2.25.0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			taken := take(t, image(t, c.layers...))
			if got := names(taken); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if len(taken.Gaps) > 0 {
				t.Errorf("gaps: %+v", taken.Gaps)
			}
		})
	}
}
