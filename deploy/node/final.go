package node

import (
	"encoding/json"
	"fmt"
	"strings"
)

// File is a file of a configuration, with what a person should know of it.
type File struct {
	Path    string // where it goes on a node, without the first slash
	Why     string // several lines
	Content string
	Comment bool // the format has comments that begin with #, and Content begins with Why
}

// Final writes the configuration of a client with which a refusal is final: "containerd", "docker", "podman" or
// "kubernetes".
func Final(client string, gw Gateway) ([]File, error) {
	var files []File
	switch client {
	case "containerd":
		files = finalContainerd(gw)
	case "docker":
		files = finalDocker(gw)
	case "podman":
		files = finalPodman(gw)
	case "kubernetes":
		files = append(finalContainerd(gw), finalKubernetes(gw))
	default:
		return nil, fmt.Errorf("%q is no client that is known here: containerd, docker, podman or kubernetes", client)
	}
	for i := range files {
		if f := &files[i]; f.Comment {
			f.Content = comment(f.Why) + "\n" + f.Content
		}
	}
	return files, nil
}

func comment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return b.String()
}

// answered says which names the gateway answers for.
func answered(gw Gateway) string {
	var names []string
	for _, r := range gw.Registries {
		if hostLike(r.Name) {
			names = append(names, r.Name)
		}
	}
	if len(names) == 0 {
		return "No registry of the gateway is named like a host, so no other name is answered by it: name the gateway in images."
	}
	return "The gateway answers for images of " + strings.Join(names, ", ") + ", and refuses those of any other registry."
}

func hostLike(name string) bool { return strings.ContainsAny(name, ".:") || name == "localhost" }

func finalContainerd(gw Gateway) []File {
	return []File{
		{
			Path: "etc/containerd/certs.d/_default/hosts.toml", Comment: true,
			Why: `containerd asks here for the images of every registry that has no folder of its own beside this one; have none.
The gateway is the server as well as the one host: without a server containerd goes on to the original registry when the
gateway refuses, and says nothing. A mistake in this file has the same effect: prove it with sealgate doctor --containerd.
` + answered(gw),
			Content: fmt.Sprintf("server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", gw.URL, gw.URL),
		},
		{
			Path: "etc/containerd/conf.d/sealgate.toml", Comment: true,
			Why: `For containerd 2, whose /etc/containerd/config.toml has imports = ["/etc/containerd/conf.d/*.toml"], or takes these
lines itself. Without config_path CRI, and so every kubelet, would not read the file above. There must be no
registry.mirrors beside it. Restart containerd.`,
			Content: "version = 3\n\n[plugins.\"io.containerd.cri.v1.images\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
		},
		{
			Path: "etc/containerd/conf.d/sealgate-1.toml", Comment: true,
			Why:     `The same for containerd 1.6 and 1.7. A node takes one of the two.`,
			Content: "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
		},
	}
}

func finalDocker(gw Gateway) []File {
	config := map[string]any{"registry-mirrors": []string{}}
	why := fmt.Sprintf(`docker asks the registry that an image names, and no other: name the gateway, as in
docker pull %s/app@sha256:… . Under registry-mirrors the gateway would enforce nothing: docker asks the next mirror and then
Docker Hub when a mirror refuses. So the list is empty, and dockerd must not get --registry-mirror either.
This file holds only what matters for that; keep your other settings. Restart dockerd.`, gw.Host())
	if gw.URL.Scheme == "http" {
		config["insecure-registries"] = []string{gw.Host()}
		why += "\nThe gateway has no TLS, so docker has to be told that it may do without; rather give the gateway a certificate."
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic("node: lists of texts always marshal: " + err.Error())
	}
	return []File{{Path: "etc/docker/daemon.json", Why: why, Content: string(content) + "\n"}}
}

func finalPodman(gw Gateway) []File {
	var b strings.Builder
	fmt.Fprintf(&b, "unqualified-search-registries = [%q]\nshort-name-mode = \"enforcing\"\n", gw.Host())
	accepted := map[string]any{gw.Host(): anything}
	insecure := ""
	if gw.URL.Scheme == "http" {
		insecure = "insecure = true\n"
		fmt.Fprintf(&b, "\n[[registry]]\nlocation = %q\n%s", gw.Host(), insecure)
	}
	for _, r := range gw.Registries {
		if hostLike(r.Name) {
			accepted[r.Name] = anything
			location := strings.TrimSuffix(gw.Host()+"/"+r.Prefix, "/")
			fmt.Fprintf(&b, "\n[[registry]]\nprefix = %q\nlocation = %q\n%s", r.Name, location, insecure)
		}
	}

	transports := map[string]any{"docker": accepted}
	for _, local := range []string{"containers-storage", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive", "tarball"} {
		transports[local] = map[string]any{"": anything}
	}
	policy, err := json.MarshalIndent(map[string]any{
		"default": []map[string]string{{"type": "reject"}}, "transports": transports,
	}, "", "  ")
	if err != nil {
		panic("node: maps of texts always marshal: " + err.Error())
	}
	return []File{
		{
			Path: "etc/containers/registries.conf.d/900-sealgate.conf", Comment: true,
			Why: `podman, buildah and skopeo pull the images of these registries from the gateway instead. location rewrites the name; a
mirror would not do: the registry itself is asked after a mirror that refuses. A name without a registry is the gateway's.
` + answered(gw),
			Content: b.String(),
		},
		{
			Path: "etc/containers/policy.json",
			Why: `Images come from the gateway and under the names that it answers for; any other registry is rejected, and what is on this
machine already may be used. "insecureAcceptAnything" is podman's word for leaving signatures to others: here to the gateway.`,
			Content: string(policy) + "\n",
		},
	}
}

var anything = []map[string]string{{"type": "insecureAcceptAnything"}}

func finalKubernetes(gw Gateway) File {
	prefixes := []string{gw.Host() + "/"}
	for _, r := range gw.Registries {
		if hostLike(r.Name) {
			prefixes = append(prefixes, r.Name+"/")
		}
	}
	list := `["` + strings.Join(prefixes, `", "`) + `"]`
	return File{
		Path: "kubernetes/sealgate.yaml", Comment: true,
		Why: `For the API server, with kubectl apply -f; the files of containerd are for each node, and this closes what they leave: an
image that names a registry of which the gateway knows nothing is refused before a node is asked. Images of Docker Hub
without docker.io/ in front are refused here too; write the whole name, or extend the list.
A node that has an image already starts it without asking: imagePullPolicy Always, or the admission plugin
AlwaysPullImages, asks the gateway every time.`,
		Content: `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: images-come-through-sealgate
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["v1"]
        operations: ["CREATE", "UPDATE"]
        resources: ["pods", "pods/ephemeralcontainers"]
  variables:
    - name: containers
      expression: >-
        object.spec.containers +
        (has(object.spec.initContainers) ? object.spec.initContainers : []) +
        (has(object.spec.ephemeralContainers) ? object.spec.ephemeralContainers : [])
  validations:
    - expression: >-
        variables.containers.all(c, ` + list + `.exists(p, c.image.startsWith(p)))
      message: images come through ` + gw.Host() + `
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: images-come-through-sealgate
spec:
  policyName: images-come-through-sealgate
  validationActions: [Deny]
  matchResources:
    namespaceSelector:
      matchExpressions:
        - {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}
`,
	}
}
