package verifier

import "testing"

func TestThreat045_OneRepositoryHasManySpellingsAndNoOther(t *testing.T) {
	for _, c := range []struct {
		repo, ref string
		want      bool
	}{
		{"prod/app", "registry.example/prod/app", true},
		{"prod/app", "registry.example:5000/prod/app", true},
		{"prod/app", "Registry.Example:5000/prod/app", true},
		{"prod/app", "127.0.0.1:5000/prod/app", true},
		{"prod/app", "[::1]:5000/prod/app", true},
		{"prod/app", "localhost/prod/app", true},
		{"prod/app", "registry.example/prod/app:v1", true},
		{"prod/app", "registry.example/prod/app@sha256:0000000000000000000000000000000000000000000000000000000000000000", true},
		{"app", "localhost:5000/app", true},

		{"docker.io/library/nginx", "index.docker.io/library/nginx", true},
		{"docker.io/library/nginx", "docker.io/library/nginx", true},
		{"docker.io/library/nginx", "docker.io/nginx", true},
		{"docker.io/library/nginx", "nginx", true},
		{"docker.io/library/nginx", "registry-1.docker.io/library/nginx", true},
		{"docker.io/library/nginx", "gateway.example/docker.io/library/nginx", true},
		{"docker.io/library/nginx", "DOCKER.IO/library/nginx", true},
		{"docker.io/library/nginx", "quay.io/library/nginx", false},
		{"docker.io/library/nginx", "docker.io.example/library/nginx", false},
		{"docker.io/library/nginx", "library/nginx.example", false},

		{"prod/app", "registry.example/dev/app", false},
		{"prod/app", "registry.example/prod/app2", false},
		{"prod/app", "registry.example/x/prod/app", false},
		{"prod/app", "registry.example/app", false},
		{"app", "registry.example/prod/app", false},
		{"app", "app", true}, // as the gateway writes it that has no name of its own; others write docker.io/library/app in full
		{"prod/app", "registry.example/prod/APP", false},
		{"prod/app", "registry.example/prod//app", false},
		{"prod/app", "registry.example/prod/../prod/app", false},
		{"prod/app", "https://registry.example/prod/app", false},
		{"prod/app", " registry.example/prod/app", false},
		{"prod/app", "registry.example/prod/app ", false},
		{"prod/app", "registry.example/prod/app\x00", false},
		{"prod/app", "registry.example/", false},
		{"prod/app", "", false},
		{"", "", false},
		{"", "registry.example/prod/app", false},
	} {
		if got := SameRepository(c.repo, c.ref); got != c.want {
			t.Errorf("SameRepository(%q, %q) = %v, want %v", c.repo, c.ref, got, c.want)
		}
	}
}
