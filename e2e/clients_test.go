package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/gateway/ledger"
	"golang.org/x/crypto/bcrypt"
)

// Who asks: each client with a name and password, in the way that it has for them, and without.

const knownConfig = `
clients:
  htpasswd: %q
  anonymous: true
  groups: [{name: builders, members: [alice]}]
registries:
  - {name: up, url: %q, prefix: up/}
policies:
  - name: public
    repositories: ["up/public/**"]
    allow: [{clients: [anonymous], may: [pull]}, {groups: [builders], may: [push]}]
    pull: {signed_by: {any: [gateway]}}
    push: {seal: {signer: gateway}}
  - name: team
    repositories: ["up/**"]
    allow: [{groups: [builders], may: [pull, push]}, {clients: [bob], may: [pull]}]
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

// htpasswd writes a file of users as an administrator does, whole or not at all: each has its own password.
func htpasswd(t *testing.T, file string, names ...string) {
	t.Helper()
	var content []byte
	for _, name := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte(passwordOf(name)), 5)
		if err != nil {
			t.Fatal(err)
		}
		content = fmt.Appendf(content, "%s:%s\n", name, hash)
	}
	writeFile(t, file+".next", content, 0o600)
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

func passwordOf(name string) string { return name + "-pass:word" }

// visitor is a client with a way to say who it is. who is name:password, or empty.
type visitor struct {
	client
	pullAs func(t *testing.T, who, ref string) result
	pushAs func(t *testing.T, who string, s source, ref string) result // nil for those that only pull
}

var visitors = func() []visitor {
	pulls := map[string]func(t *testing.T, who, ref string) result{
		"docker":  func(t *testing.T, who, ref string) result { return dockerAs(t, who, ref, "pull", ref) },
		"ctr-1.6": ctr1.pullAs, "ctr-2.4": ctr2.pullAs, "cri-1.6": cri1.pullAs, "cri-2.4": cri2.pullAs,
		"podman": func(t *testing.T, who, ref string) result {
			return runPodman(t, append([]string{"pull", "--tls-verify=false", "--creds", who}, ref)...)
		},
		"buildah": func(t *testing.T, who, ref string) result {
			return runBuildah(t, "pull", "--policy=always", "--tls-verify=false", "--creds", who, ref)
		},
		"skopeo": func(t *testing.T, who, ref string) result {
			return runSkopeo(t, "copy", "--src-tls-verify=false", "--src-creds", who, "docker://"+ref, "dir:"+filepath.Join(tempDir(t), "image"))
		},
		"crane": func(t *testing.T, who, ref string) result {
			return craneAs(t, who, ref, "pull", "--format=oci", ref, filepath.Join(tempDir(t), "image"))
		},
		"oras": func(t *testing.T, who, ref string) result {
			name, password, _ := strings.Cut(who, ":")
			return runOras(t, "copy", "--no-tty", "--from-plain-http", "--from-username", name, "--from-password", password, ref, "--to-oci-layout", filepath.Join(tempDir(t), "image")+":image")
		},
	}
	pushes := map[string]func(t *testing.T, who string, s source, ref string) result{
		"docker":  func(t *testing.T, who string, _ source, ref string) result { return dockerAs(t, who, ref, "push", ref) },
		"ctr-1.6": ctr1.pushAs, "ctr-2.4": ctr2.pushAs,
		"podman": func(t *testing.T, who string, _ source, ref string) result {
			return runPodman(t, "push", "--tls-verify=false", "--creds", who, ref)
		},
		"buildah": func(t *testing.T, who string, _ source, ref string) result {
			return runBuildah(t, "push", "--tls-verify=false", "--creds", who, ref)
		},
		"skopeo": func(t *testing.T, who string, s source, ref string) result {
			return runSkopeo(t, "copy", "--dest-tls-verify=false", "--dest-creds", who, "oci:"+s.oci()+":image", "docker://"+ref)
		},
		"crane": func(t *testing.T, who string, s source, ref string) result {
			return craneAs(t, who, ref, "push", s.oci(), ref)
		},
		"oras": func(t *testing.T, who string, s source, ref string) result {
			name, password, _ := strings.Cut(who, ":")
			return runOras(t, "copy", "--no-tty", "--to-plain-http", "--to-username", name, "--to-password", password, "--from-oci-layout", s.oci()+":image", ref)
		},
	}
	var all []visitor
	for _, c := range clients {
		all = append(all, visitor{client: c, pullAs: pulls[c.name], pushAs: pushes[c.name]})
	}
	return all
}()

// dockerAs runs a docker command with a configuration of its own, into which somebody logs in first.
func dockerAs(t *testing.T, who, ref string, args ...string) result {
	t.Helper()
	dir := tempDir(t)
	if r := dockerLogin(t, dir, who, ref); r.code != 0 {
		return r
	}
	return dockerIn(t, dir, args...)
}

func dockerLogin(t *testing.T, dir, who, ref string) result {
	t.Helper()
	host, _, _ := strings.Cut(ref, "/")
	name, password, _ := strings.Cut(who, ":")
	return dockerIn(t, dir, "login", "-u", name, "-p", password, host)
}

func dockerIn(t *testing.T, config string, args ...string) result {
	t.Helper()
	d := need(t, suite.docker)
	return command(t, []string{"DOCKER_CONFIG=" + config}, "/usr/bin/docker", append([]string{"-H", d.host()}, args...)...)
}

func craneAs(t *testing.T, who, ref string, args ...string) result {
	t.Helper()
	host, _, _ := strings.Cut(ref, "/")
	name, password, _ := strings.Cut(who, ":")
	env := []string{"DOCKER_CONFIG=" + tempDir(t)}
	command(t, env, suite.tools["crane"], "auth", "login", host, "-u", name, "-p", password).ok(t)
	return command(t, env, suite.tools["crane"], args...)
}

func (c ctrClient) pullAs(t *testing.T, who, ref string) result {
	return c.images(t, "pull", append(c.flags, "--plain-http", "--user", who, ref)...)
}

func (c ctrClient) pushAs(t *testing.T, who string, _ source, ref string) result {
	return c.images(t, "push", append(c.flags, "--plain-http", "--user", who, ref)...)
}

func (c criClient) pullAs(t *testing.T, who, ref string) result {
	t.Helper()
	need(t, c.daemon).trust(t, ref)
	return c.run(t, "pull", "--creds", who, ref)
}

func forEachVisitor(t *testing.T, name string, do func(t *testing.T, v visitor)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for _, v := range visitors {
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				do(t, v)
			})
		}
	})
}

func TestClientsSayWhoTheyAre(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	users := filepath.Join(tempDir(t), "htpasswd")
	htpasswd(t, users, "alice", "bob")
	gw := startGateway(t, fmt.Sprintf(knownConfig, users, up.url()))
	alice, bob := "alice:"+passwordOf("alice"), "bob:"+passwordOf("bob")

	// Whatever lies there unsigned is in nobody's way: the token says that this is a push.
	forEachVisitor(t, "who may pushes, over what nobody may pull, and who may pulls", func(t *testing.T, v visitor) {
		repo := "up/app/" + v.name
		put(t, up.ref("app/"+v.name+":v1"), kit.image(t, asRoot, v.name))
		src := kit.source(t, nonroot, v.name)
		if v.pushAs == nil {
			craneAs(t, alice, gw.ref(repo), "push", src.oci(), gw.ref(repo+":v1")).ok(t)
		} else {
			if v.build != nil {
				v.build(t, src, gw.ref(repo+":v1"))
			}
			v.pushAs(t, alice, src, gw.ref(repo+":v1")).ok(t)
		}
		if v.clear != nil {
			v.clear(t)
		}
		v.pullAs(t, bob, gw.ref(repo+":v1")).ok(t)
		gw.decidedAbout(t, repo, map[ledger.Action]string{ledger.Push: "alice", ledger.Pull: "bob"})
	})

	forEachVisitor(t, "who may not push is told so, and nothing is stored", func(t *testing.T, v visitor) {
		if v.pushAs == nil {
			t.Skip("it only pulls")
		}
		repo := "up/no/" + v.name
		src := kit.source(t, nonroot, "no "+v.name)
		if v.build != nil {
			v.build(t, src, gw.ref(repo+":v1"))
		}
		r := v.pushAs(t, bob, src, gw.ref(repo+":v1")).fails(t)
		if v.mute {
			r.has(t, "403 Forbidden")
		} else {
			r.has(t, "bob may not push here")
		}
		if answers("http://" + up.address + "/v2/no/" + v.name + "/tags/list") {
			t.Error("something was stored")
		}
	})

	forEachVisitor(t, "a wrong password is said to be one", func(t *testing.T, v visitor) {
		r := v.pullAs(t, "bob:wrong", gw.ref("up/app/"+v.name+":v1")).fails(t)
		if !strings.Contains(r.output, "the name or the password is not right") && !strings.Contains(r.output, "401") &&
			!strings.Contains(r.output, "invalid username/password") {
			t.Errorf("%s\nsays nothing of the password:\n%s", r.command, r.output)
		}
	})

	forEachVisitor(t, "who does not log in pulls what is public, and is asked to log in for the rest", func(t *testing.T, v visitor) {
		ref := gw.ref("up/public/" + v.name + ":v1")
		src := kit.source(t, nonroot, v.name)
		craneAs(t, alice, ref, "push", src.oci(), ref).ok(t)
		v.fresh(t, ref).ok(t)
		gw.decidedAbout(t, "up/public/"+v.name, map[ledger.Action]string{ledger.Pull: "anonymous", ledger.Push: "alice"})

		saysLogIn(t, v.fresh(t, gw.ref("up/app/"+v.name+":v1")))
		src = kit.source(t, nonroot, v.name+" again")
		if v.push == nil {
			return
		}
		if v.build != nil {
			v.build(t, src, ref)
		}
		saysLogIn(t, v.push(t, src, ref))
	})

	log, err := os.ReadFile(gw.process.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"alice", "bob"} {
		if strings.Contains(string(log), passwordOf(who)) {
			t.Errorf("the log has the password of %s", who)
		}
	}
}

// saysLogIn demands that a command failed because nobody was logged in, and said so: in the gateway's words, or in its own.
func saysLogIn(t *testing.T, r result) {
	t.Helper()
	r.fails(t)
	for _, words := range []string{"sealgate: log in", "401 Unauthorized", "authorization failed", "authentication required"} {
		if strings.Contains(r.output, words) {
			return
		}
	}
	t.Errorf("%s\ndoes not say that one has to log in:\n%s", r.command, r.output)
}

// decidedAbout checks whom the last admitted decisions about a repository name, by what was done.
func (g *gateway) decidedAbout(t *testing.T, repo string, want map[ledger.Action]string) {
	t.Helper()
	found := map[ledger.Action]string{}
	for _, d := range g.decisions(t, repo) {
		if d.Outcome == ledger.Admit {
			found[d.Action] = d.Identity
		}
	}
	if !maps.Equal(found, want) {
		t.Errorf("%s was last pulled and pushed by %v, want %v", repo, found, want)
	}
}

// TestDockerKeepsATokenAndLosesItWithThePassword logs in once and works with what was stored; nothing of it outlives the
// user, and a restart of the gateway ends none of it.
func TestDockerKeepsATokenAndLosesItWithThePassword(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	users := filepath.Join(tempDir(t), "htpasswd")
	htpasswd(t, users, "alice", "bob")
	gw := startGateway(t, fmt.Sprintf(knownConfig, users, up.url()))
	ref, config := gw.ref("up/kept:v1"), tempDir(t)
	dockerBuild(t, kit.source(t, nonroot, "kept"), ref)

	dockerLogin(t, config, "alice:wrong", ref).fails(t).has(t, "the name or the password is not right")
	dockerLogin(t, config, "alice:"+passwordOf("alice"), ref).ok(t)
	raw, err := os.ReadFile(filepath.Join(config, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var stored struct {
		Auths map[string]struct{ Auth, IdentityToken string }
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		t.Fatal(err)
	}
	if entry := stored.Auths[gw.address]; entry.IdentityToken == "" || strings.Contains(entry.Auth, "cGFzc") {
		t.Errorf("docker keeps the password, not a token: %+v", entry)
	}
	dockerIn(t, config, "push", ref).ok(t)

	gw.process.stop()
	gw.start(t)
	dockerIn(t, config, "push", ref).ok(t)
	dockerIn(t, config, "pull", ref).ok(t)

	htpasswd(t, users, "bob")
	gw.reload(t)
	eventually(t, "alice is a stranger", func() (bool, string) {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gw.address+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.SetBasicAuth("alice", passwordOf("alice"))
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized, resp.Status
	})
	dockerIn(t, config, "push", ref).fails(t)
	dockerIn(t, config, "pull", ref).fails(t)
	dockerLogin(t, config, "bob:"+passwordOf("bob"), ref).ok(t)
	dockerIn(t, config, "pull", ref).ok(t)
}

// TestPodmanLogsIn does with podman login what people do with docker's.
func TestPodmanLogsIn(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	users := filepath.Join(tempDir(t), "htpasswd")
	htpasswd(t, users, "alice")
	gw := startGateway(t, fmt.Sprintf(knownConfig, users, up.url()))
	ref, file := gw.ref("up/podman:v1"), filepath.Join(tempDir(t), "auth.json")
	podmanBuild(t, kit.source(t, nonroot, "podman login"), ref)

	login := func(password string) result {
		return runPodman(t, "login", "--tls-verify=false", "--authfile", file, "-u", "alice", "-p", password, gw.address)
	}
	login("wrong").fails(t).has(t, "invalid username/password")
	login(passwordOf("alice")).ok(t)
	runPodman(t, "push", "--tls-verify=false", "--authfile", file, ref).ok(t)
	runPodman(t, "pull", "--tls-verify=false", "--authfile", file, ref).ok(t)
	runPodman(t, "push", "--tls-verify=false", "--authfile", filepath.Join(tempDir(t), "none.json"), ref).fails(t)
}
