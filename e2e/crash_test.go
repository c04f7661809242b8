package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
)

// TestThreat133_KilledInTheMiddleOfPushes kills the gateway while 50 clients push to one tag. The tag is the commit point:
// whatever it names afterwards is sealed, and every push that is tried again succeeds.
func TestThreat133_KilledInTheMiddleOfPushes(t *testing.T) {
	up := startRegistry(t)
	gw := startGateway(t, fmt.Sprintf(sealConfig, up.url()))

	const pushers = 50
	var layouts []string
	for i := range pushers {
		layout := filepath.Join(tempDir(t), "oci")
		layer := files(t, map[string][]byte{"word": fmt.Append(nil, "crash ", i)})
		writeLayout(t, layout, assemble(t, "amd64", nonroot, layer))
		layouts = append(layouts, layout)
	}
	whole := t
	for _, repo := range []string{"crash", "up/crash"} {
		t.Run(repo, func(t *testing.T) {
			results := make([]result, pushers)
			pushAll := func() *sync.WaitGroup {
				var all sync.WaitGroup
				for i, layout := range layouts {
					all.Go(func() { results[i] = runCrane(t, "push", layout, gw.ref(repo+":v1")) })
				}
				return &all
			}

			all := pushAll()
			eventually(t, "some pushes are done", func() (bool, string) {
				pushed := len(gw.decisions(t, repo))
				return pushed >= 5, fmt.Sprintf("%d decisions; %s", pushed, results[0].output)
			})
			gw.process.kill()
			all.Wait()
			done := 0
			for _, r := range results {
				if r.code == 0 {
					done++
				}
			}
			if done == pushers {
				t.Errorf("all %d pushes were done before the gateway was killed: nothing was tried", pushers)
			}

			gw.start(whole) // it serves the other repository too
			resp := gw.ask(t, http.MethodGet, repo+"/manifests/v1")
			if resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusNotFound || done > 0) {
				t.Errorf("after the crash the tag answers %d with %d pushes done: it names what is not sealed", resp.StatusCode, done)
			}

			pushAll().Wait()
			for _, r := range results {
				r.ok(t)
			}
			cranePull(t, gw.ref(repo+":v1")).ok(t)
		})
	}
}
