package node

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"
	"go.yaml.in/yaml/v3"
)

// What is printed is what the doctor finds nothing wrong with.
func TestWhatFinalWritesIsFinal(t *testing.T) {
	for _, client := range []string{"containerd", "docker", "podman"} {
		t.Run(client, func(t *testing.T) {
			n := Node{Root: t.TempDir()}
			for _, f := range write(t, n.Root, client, gw) {
				if f.Why == "" || f.Comment != strings.HasPrefix(f.Content, "# ") {
					t.Errorf("%s does not say why it is as it is:\n%s", f.Path, f.Content)
				}
			}
			var found []Finding
			switch client {
			case "containerd":
				found, _ = n.Containerd(gw, []string{"docker.io", "quay.io"})
			case "docker":
				found = n.Docker(gw, nil)
			case "podman":
				found = n.Podman(gw, []string{"docker.io"})
			}
			finds(t, n, found, nil)
		})
	}
	if _, err := Final("nerdctl", gw); err == nil {
		t.Error("a client that is not known gets a configuration")
	}
}

func TestAGatewayWithoutTLSIsSaidToBeOne(t *testing.T) {
	plain := Gateway{URL: &url.URL{Scheme: "http", Host: "10.0.0.1:5000"}, Registries: gw.Registries}
	for client, want := range map[string]string{
		"containerd": `server = "http://10.0.0.1:5000"`, "docker": `"10.0.0.1:5000"`, "podman": "insecure = true",
	} {
		all := ""
		for _, f := range write(t, t.TempDir(), client, plain) {
			all += f.Content
		}
		if !strings.Contains(all, want) {
			t.Errorf("%s: no %q in\n%s", client, want, all)
		}
	}
}

// TestTheAdmissionPolicyRefusesOtherRegistries evaluates the expressions as the API server does.
func TestTheAdmissionPolicyRefusesOtherRegistries(t *testing.T) {
	files, err := Final("kubernetes", gw)
	if err != nil {
		t.Fatal(err)
	}
	document, _, _ := strings.Cut(files[len(files)-1].Content, "\n---\n")
	var policy struct {
		Spec struct {
			Variables   []struct{ Name, Expression string }
			Validations []struct{ Expression string }
		}
	}
	if err := yaml.Unmarshal([]byte(document), &policy); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		spec string
		want bool
	}{
		"an image of the gateway":                    {`{"containers": [{"image": "registry.acme.dev/app"}]}`, true},
		"one of a registry that it answers for":      {`{"containers": [{"image": "docker.io/library/nginx"}]}`, true},
		"one of another registry":                    {`{"containers": [{"image": "quay.io/app"}]}`, false},
		"one of a registry that only begins like it": {`{"containers": [{"image": "registry.acme.dev.evil.test/app"}]}`, false},
		"another registry beside the gateway":        {`{"containers": [{"image": "registry.acme.dev/app"}], "initContainers": [{"image": "quay.io/app"}]}`, false},
		"another registry in an ephemeral container": {`{"containers": [{"image": "registry.acme.dev/app"}], "ephemeralContainers": [{"image": "app"}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var spec map[string]any
			if err := json.Unmarshal([]byte(tt.spec), &spec); err != nil {
				t.Fatal(err)
			}
			object := map[string]any{"object": map[string]any{"spec": spec}}
			containers := evaluate(t, policy.Spec.Variables[0].Expression, object)
			object["variables"] = map[string]any{"containers": containers}
			if got := evaluate(t, policy.Spec.Validations[0].Expression, object).Value(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func evaluate(t *testing.T, expression string, input map[string]any) ref.Val {
	t.Helper()
	env, err := cel.NewEnv(cel.Variable("object", cel.DynType), cel.Variable("variables", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	program, err := env.Program(ast)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := program.Eval(input)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, root, client string, gw Gateway) []File {
	t.Helper()
	files, err := Final(client, gw)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(root, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.Content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
