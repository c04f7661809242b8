package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestThreat141_TheEnvironmentCannotSetWhatIsAdmitted(t *testing.T) {
	t.Parallel()
	for variable, key := range map[string]string{
		"SEALGATE_POLICY_DEFAULT=allow":         "policies",
		"SEALGATE_POLICIES=[]":                  "policies",
		"SEALGATE_POLICIES_0_MODE=audit":        "policies",
		"SEALGATE_SIGNERS_0_KEY_FILE=k":         "signers",
		"SEALGATE_SIGNER=mine":                  "signers",
		"SEALGATE_AUTHORITIES_0_KEY_FILE=k.pub": "authorities",
		"SEALGATE_AUTHORITY=mine":               "authorities",
		"SEALGATE_REGISTRIES=evil":              "registries",
		"SEALGATE_REGISTRY_URL=http://evil":     "registries",
		"SEALGATE_DELETE_ALLOWED=true":          "delete.allowed",
		"SEALGATE_DELETE=true":                  "delete",
		"SEALGATE_VERIFICATION_CACHE_TTL=24h":   "verification.cache_ttl",
		"SEALGATE_LISTEN_TLS_KEY=k":             "listen.tls.key",
		"SEALGATE_LISTEN=:5000":                 "listen",
	} {
		_, err := load("", Overrides{}, []string{variable})
		want := key + " cannot be set by the environment"
		if err == nil || !strings.Contains(err.Error(), want) || codeOf(err) != exitUsage {
			t.Errorf("%s: got %v, want %q", variable, err, want)
		}
	}
}

func TestThreat141_WhatTheEnvironmentSetsIsShown(t *testing.T) {
	t.Parallel()
	loaded, err := load("", Overrides{Storage: "/flag"}, []string{
		"SEALGATE_LISTEN_ADDRESS=0.0.0.0:443", "SEALGATE_LISTEN_EXTERNAL_URL=https://registry.acme.dev", "SEALGATE_STORAGE_DIRECTORY=/variable",
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := new(bytes.Buffer)
	if err := loaded.writeYAML(shown); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"address: 0.0.0.0:443 # from SEALGATE_LISTEN_ADDRESS\n",
		"external_url: https://registry.acme.dev # from SEALGATE_LISTEN_EXTERNAL_URL\n",
		"directory: /flag # from --storage\n",
	} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("want %q in\n%s", want, shown)
		}
	}
}

func TestAValueFromTheEnvironmentIsCheckedLikeOneFromTheFile(t *testing.T) {
	t.Parallel()
	if _, err := load("", Overrides{}, []string{"SEALGATE_LISTEN_ADDRESS=nowhere"}); err == nil {
		t.Error("took SEALGATE_LISTEN_ADDRESS=nowhere")
	}
	if _, err := load("", Overrides{Listen: "nowhere"}, nil); err == nil {
		t.Error("took --listen nowhere")
	}
}

func TestVariablesThatMeanSomethingElseAreLeftAlone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sealgate.yaml")
	writeFile(t, file, onePolicy+"signers: [{name: gateway, key: {password_env: SEALGATE_SIGNER_PASSWORD}}]\n")
	_, err := load(file, Overrides{}, []string{
		"SEALGATE_KEY_PASSWORD=x", "SEALGATE_SIGNER_PASSWORD=y", "SEALGATE_LISTEN_ADDRESS=",
		// What Kubernetes sets for services called sealgate, sealgate-admin and sealgate-registry.
		"SEALGATE_SERVICE_HOST=10.0.0.1", "SEALGATE_PORT=tcp://10.0.0.1:5000", "SEALGATE_PORT_5000_TCP_ADDR=10.0.0.1",
		"SEALGATE_ADMIN_SERVICE_HOST=10.0.0.1", "SEALGATE_ADMIN_SERVICE_PORT_METRICS=5001", "SEALGATE_ADMIN_PORT=tcp://10.0.0.1:5001",
		"SEALGATE_REGISTRY_SERVICE_HOST=10.0.0.1", "SEALGATE_REGISTRY_PORT_5000_TCP=tcp://10.0.0.1:5000",
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWhatIsShownLoadsAsTheSame(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"", exampleFile} {
		loaded, err := load(file, Overrides{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		first := new(bytes.Buffer)
		if err := loaded.writeYAML(first); err != nil {
			t.Fatal(err)
		}
		again, err := loadText(t, first.String())
		if err != nil {
			t.Fatalf("what is shown does not load: %v\n%s", err, first)
		}
		second := new(bytes.Buffer)
		if err := again.writeYAML(second); err != nil {
			t.Fatal(err)
		}
		if first.String() != second.String() {
			t.Errorf("shown first\n%s\nthen\n%s", first, second)
		}
	}
}
