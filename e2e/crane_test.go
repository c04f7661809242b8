package e2e

import (
	"path/filepath"
	"testing"
)

// crane and oras: the clients of pipelines. Both speak HTTP to loopback.

func runCrane(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, nil, suite.tools["crane"], args...)
}

func cranePull(t *testing.T, ref string) result {
	return runCrane(t, "pull", "--format=oci", ref, filepath.Join(tempDir(t), "image"))
}

func cranePush(t *testing.T, s source, ref string) result {
	return runCrane(t, "push", s.oci(), ref)
}

func runOras(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, nil, suite.tools["oras"], args...)
}

func orasPull(t *testing.T, ref string) result {
	return runOras(t, "copy", "--no-tty", "--from-plain-http", ref, "--to-oci-layout", filepath.Join(tempDir(t), "image")+":image")
}

func orasPush(t *testing.T, s source, ref string) result {
	return runOras(t, "copy", "--no-tty", "--to-plain-http", "--from-oci-layout", s.oci()+":image", ref)
}
