package gateway_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

func immutable(tags ...string) policy.Document {
	d := sealing()
	d.Push.ImmutableTags = tags
	return d
}

func TestThreat161_AnImmutableTagIsWrittenOnce(t *testing.T) {
	for _, mode := range []string{"enforce", "audit"} {
		doc := immutable("v*", "latest")
		doc.Mode = mode
		r := newRig(t, doc)
		first, second := newImage("65532", "first"), newImage("65532", "second")
		for _, tag := range []string{"v1", "v2.0-rc_1", "latest"} {
			if a := r.push("a", tag, first); a.status != http.StatusCreated {
				t.Fatalf("%s: %d %s", tag, a.status, a.body)
			}
			if a := r.push("a", tag, first); a.status != http.StatusCreated {
				t.Errorf("%s, %s: the same again is answered %d %s", mode, tag, a.status, a.body)
			}
			a := r.push("a", tag, second)
			if a.status != http.StatusForbidden || !strings.Contains(string(a.body), "TAG_IMMUTABLE") {
				t.Errorf("%s, %s: something else is answered %d %s", mode, tag, a.status, a.body)
			}
			if d := r.last(); d.Outcome != ledger.Deny || d.Audit || d.Reference != tag || d.Digest != second.digest {
				t.Errorf("%s, %s: recorded %+v", mode, tag, d)
			}
			if a := r.want(http.StatusOK, "GET", "/v2/a/manifests/"+tag, nil); digest.FromBytes(a.body) != first.digest {
				t.Errorf("%s: it names something else now", tag)
			}
		}
		for _, tag := range []string{"V1", "Latest", "latest2", "edge"} { // other tags, which may move
			r.push("a", tag, first)
			if a := r.push("a", tag, second); a.status != http.StatusCreated {
				t.Errorf("%s: %d %s", tag, a.status, a.body)
			}
		}
	}
}

func TestThreat161_EveryWayToReplaceOrDeleteWhatATagNames(t *testing.T) {
	r := newRig(t, immutable("*"))
	im := newImage("65532", "x")
	im.manifest = bytes.Replace(im.manifest, []byte(`"mediaType":"application/vnd.oci.image.manifest.v1+json",`), nil, 1)
	im.digest = digest.FromBytes(im.manifest)
	r.pushBlobs("a", im)
	const oci = "application/vnd.oci.image.manifest.v1+json"
	put := func(reference, mediaType string, raw []byte) answer {
		return r.send("PUT", "/v2/a/manifests/"+reference, raw, "Content-Type", mediaType)
	}
	if a := put("v1", oci, im.manifest); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	evidence := []byte(`{"schemaVersion":2,"mediaType":"` + oci + `","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`)
	for name, a := range map[string]answer{
		"the same bytes as another type": put("v1", "application/vnd.docker.distribution.manifest.v2+json", im.manifest),
		"an artifact":                    put("v1", oci, evidence),
		"nothing an image could be":      put("v1", oci, []byte(`{}`)),
		"the tag is deleted":             r.send("DELETE", "/v2/a/manifests/v1", nil),
		"the manifest is deleted":        r.send("DELETE", "/v2/a/manifests/"+im.digest.String(), nil),
		"an encoded tag":                 put("v%31", oci, newImage("65532", "y").manifest),
		"a tag in the query":             put(newImage("65532", "y").digest.String()+"?tag=v1", oci, newImage("65532", "y").manifest),
	} {
		if a.status < 400 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	if a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil); digest.FromBytes(a.body) != im.digest || a.header.Get("Content-Type") != oci {
		t.Errorf("it is not what was pushed first: %s %s", a.header.Get("Content-Type"), a.body)
	}
}

func TestThreat161_OfManyPushesOfOneImmutableTagOneWins(t *testing.T) {
	r := newRig(t, immutable("v1"))
	const pushes = 12
	var images []image
	for i := range pushes {
		im := newImage("65532", strings.Repeat("x", i+1))
		r.pushBlobs("a", im)
		images = append(images, im)
	}
	var all sync.WaitGroup
	var won, lost atomic.Int32
	for _, im := range images {
		all.Go(func() {
			switch a := r.putManifest("a", "v1", im); a.status {
			case http.StatusCreated:
				won.Add(1)
			case http.StatusForbidden:
				lost.Add(1)
			default:
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != pushes-1 {
		t.Errorf("%d won and %d lost, want one and %d", won.Load(), lost.Load(), pushes-1)
	}
}
