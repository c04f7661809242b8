package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/gateway/ledger"
)

// Jobs and pods show an id-token where people have a password: each client, in the way that docs/clients.md gives.

const workloadConfig = `
clients:
  oidc:
    - name: ci-release
      issuer: %[1]s
      audience: registry.acme.dev
      match:
        - {claim: repository_id, is: ["123"]}
        - {claim: job_workflow_ref, like: ["acme/app/.github/workflows/release.yml@refs/tags/v*"]}
      session: %[2]s
    - name: flux
      issuer: %[1]s
      audience: registry.acme.dev
      match:
        - {claim: /kubernetes.io/serviceaccount/name, is: [source-controller]}
registries:
  - {name: up, url: %[3]q, prefix: up/}
policies:
  - name: release
    repositories: ["up/**"]
    allow:
      - {clients: [ci-release], may: [push, pull]}
      - {clients: [flux], may: [pull]}
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

// job are the claims of a job of the release workflow, with changes.
func job(changes ...string) map[string]any {
	claims := map[string]any{
		"aud": "registry.acme.dev", "sub": "repo:acme/app:ref:refs/tags/v1", "repository_id": "123",
		"job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/tags/v1.2",
	}
	for i := 0; i+1 < len(changes); i += 2 {
		claims[changes[i]] = changes[i+1]
	}
	return claims
}

func pod() map[string]any {
	return map[string]any{
		"aud": "registry.acme.dev", "sub": "system:serviceaccount:flux-system:source-controller",
		"kubernetes.io": map[string]any{"namespace": "flux-system", "serviceaccount": map[string]any{"name": "source-controller"}},
	}
}

func idToken(t *testing.T, i *issuer, claims map[string]any, life time.Duration) string {
	t.Helper()
	token, err := i.says(claims, life)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestWorkloadsShowAnIDToken(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	platform, err := startIssuer()
	if err != nil {
		t.Fatal(err)
	}
	gw := startGateway(t, fmt.Sprintf(workloadConfig, platform.url, "0s", up.url()))
	release, flux := "oauth2:"+idToken(t, platform, job(), time.Hour), "token:"+idToken(t, platform, pod(), time.Hour)

	forEachVisitor(t, "the release workflow pushes, and the cluster pulls", func(t *testing.T, v visitor) {
		repo := "up/app/" + v.name
		src := kit.source(t, nonroot, v.name)
		if v.pushAs == nil {
			craneAs(t, release, gw.ref(repo), "push", src.oci(), gw.ref(repo+":v1")).ok(t)
		} else {
			if v.build != nil {
				v.build(t, src, gw.ref(repo+":v1"))
			}
			v.pushAs(t, release, src, gw.ref(repo+":v1")).ok(t)
		}
		if v.clear != nil {
			v.clear(t)
		}
		v.pullAs(t, flux, gw.ref(repo+":v1")).ok(t)
		gw.decidedAbout(t, repo, map[ledger.Action]string{ledger.Push: "ci-release", ledger.Pull: "flux"})
	})

	t.Run("others of the platform do not", func(t *testing.T) {
		ref := gw.ref("up/app/no:v1")
		for name, claims := range map[string]map[string]any{
			"another audience": job("aud", "sigstore"), "another repository": job("repository_id", "124"),
			"another workflow": job("job_workflow_ref", "acme/app/.github/workflows/test.yml@refs/tags/v1.2"),
			"a branch":         job("job_workflow_ref", "acme/app/.github/workflows/release.yml@refs/heads/v1"),
		} {
			r := craneAs(t, "oauth2:"+idToken(t, platform, claims, time.Hour), ref, "push", kit.source(t, nonroot, "no").oci(), ref).fails(t)
			if !strings.Contains(r.output, "the name or the password is not right") {
				t.Errorf("%s: %s", name, r.output)
			}
		}
		craneAs(t, flux, ref, "push", kit.source(t, nonroot, "no").oci(), ref).fails(t).has(t, "flux may not push here")
	})

	t.Run("as bearer, as Flux and curl show it", func(t *testing.T) {
		for token, want := range map[string]int{idToken(t, platform, pod(), time.Hour): http.StatusOK, idToken(t, platform, job("aud", "x"), time.Hour): http.StatusUnauthorized} {
			q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gw.address+"/v2/up/app/crane/manifests/v1", nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("got %d, want %d", resp.StatusCode, want)
			}
		}
	})
}

// TestALongBuildOutlivesItsToken logs in with a token that ends before the push: by then docker has what is renewed, and without a
// session it has nothing.
func TestALongBuildOutlivesItsToken(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	platform, err := startIssuer()
	if err != nil {
		t.Fatal(err)
	}
	long := startGateway(t, fmt.Sprintf(workloadConfig, platform.url, "1h", up.url()))
	short := startGateway(t, fmt.Sprintf(workloadConfig, platform.url, "0s", up.url()))
	configs := map[*gateway]string{long: tempDir(t), short: tempDir(t)}
	for gw := range configs {
		dockerBuild(t, kit.source(t, nonroot, "long build"), gw.ref("up/long:v1"))
	}
	token := idToken(t, platform, job(), 5*time.Second)
	for gw, config := range configs {
		dockerLogin(t, config, "oauth2:"+token, gw.ref("up/long:v1")).ok(t)
	}

	err = poll(2*time.Minute, func() (bool, string) {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+short.address+"/v2/", nil)
		if err != nil {
			return false, err.Error()
		}
		q.SetBasicAuth("oauth2", token)
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized, resp.Status
	})
	if err != nil {
		t.Fatalf("the id-token does not end: %v", err)
	}
	dockerIn(t, configs[long], "push", long.ref("up/long:v1")).ok(t)
	dockerIn(t, configs[long], "pull", long.ref("up/long:v1")).ok(t)
	dockerIn(t, configs[short], "push", short.ref("up/long:v1")).fails(t)
}

// TestTheWaysToLogInOfTheGuide runs the line of docs/clients.md that stands for all of CI, with a platform's own endpoint for
// tokens behind it.
func TestTheWaysToLogInOfTheGuide(t *testing.T) {
	platform, err := startIssuer()
	if err != nil {
		t.Fatal(err)
	}
	gw := startGateway(t, fmt.Sprintf(workloadConfig, platform.url, "0s", "http://127.0.0.1:1"))
	c := exec.CommandContext(t.Context(), "sh", "-c", `echo "$TOKEN" | docker login `+gw.address+` -u oauth2 --password-stdin`)
	c.Env = append(c.Environ(), "TOKEN="+idToken(t, platform, job(), time.Hour), "DOCKER_CONFIG="+tempDir(t), "DOCKER_HOST="+need(t, suite.docker).host())
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "Login Succeeded") {
		t.Errorf("docker: %v %s", err, out)
	}
	c = exec.CommandContext(t.Context(), "sh", "-c", `echo "$TOKEN" | podman login `+gw.address+` --tls-verify=false -u oauth2 --password-stdin --authfile `+filepath.Join(tempDir(t), "auth.json"))
	c.Env = append(c.Environ(), "TOKEN="+idToken(t, platform, job(), time.Hour))
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "Login Succeeded") {
		t.Errorf("podman: %v %s", err, out)
	}
}
