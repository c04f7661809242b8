package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestThreat134_PullsOfOneRegistryDoNotWaitForAnother(t *testing.T) {
	t.Parallel()
	const clients = 40 // more than are verified at a time
	var answered atomic.Int32
	hold, looked := make(chan struct{}), make(chan struct{}, clients*8)
	config := `{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}`
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, tag, isManifest := strings.Cut(r.URL.Path, "/manifests/v")
		if !isManifest { // what is attached, which is not told
			looked <- struct{}{}
			<-hold
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[],"annotations":{"n":%q}}`, config, tag)
	}))
	t.Cleanup(stuck.Close)
	r := startForTest(t, newStorage(t, onePolicy+"    push: {accept_unsealed: true}\nregistries:\n  - {name: local, embedded: true}\n  - {name: stuck, prefix: stuck/, url: \""+stuck.URL+"\"}\n"))
	if err := remote.Write(r.at(t, "app:v1"), newImage(t, "65532")); err != nil {
		t.Fatal(err)
	}

	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			if resp, err := http.Get(fmt.Sprint(r.URL, "/v2/stuck/app/manifests/v", i)); err == nil {
				resp.Body.Close()
				answered.Add(1)
			}
		})
	}
	for range 2 * 32 { // two places for each of those that have their turn
		<-looked
	}
	if status, body := get(t, r.URL+"/v2/app/manifests/v1"); status != http.StatusForbidden || !strings.Contains(body, "UNSIGNED") {
		t.Errorf("an image of the other registry: %d %s", status, body)
	}
	if n := answered.Load(); n > 0 {
		t.Errorf("it was answered after %d of those that wait for the registry that stands still", n)
	}
	close(hold)
	group.Wait()
}
