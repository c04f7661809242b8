// Image makes an OCI image of Sealgate out of its binary, as a layout in a folder: no Docker, no base image, no network.
//
//	go run ./deploy/image -binary dist/sealgate -output dist/image
//
// The same binary and the same certificates make the same image. SOURCE_DATE_EPOCH sets the time that it says it was made.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	binary := flag.String("binary", "dist/sealgate", "the static binary")
	output := flag.String("output", "dist/image", "folder of the layout; what is there is replaced")
	version := flag.String("version", "unknown", "what the image says of itself")
	flag.Parse()

	d, err := run(*binary, *output, *version, os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Printf("%s@%s\npush it: skopeo copy oci:%s docker://REGISTRY/sealgate:%s\n", *output, d, *output, *version)
}

func run(binary, output, version, epoch string) (v1.Hash, error) {
	c := contents{Version: version}
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
		}
		c.Created = time.Unix(seconds, 0)
	}
	var err error
	if c.Binary, err = os.ReadFile(binary); err != nil {
		return v1.Hash{}, fmt.Errorf("read binary: %w", err)
	}
	if c.Certificates, err = readCertificates(); err != nil {
		return v1.Hash{}, fmt.Errorf("read certificates: %w", err)
	}
	image, err := build(c)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("build image: %w", err)
	}
	if err := write(image, output, version); err != nil {
		return v1.Hash{}, fmt.Errorf("write layout: %w", err)
	}
	return image.Digest()
}

// write makes the layout appear whole or not at all.
func write(image v1.Image, output, version string) (err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(output), ".image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	fresh := filepath.Join(scratch, "image")
	path, err := layout.Write(fresh, empty.Index)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if err := path.AppendImage(image,
		layout.WithPlatform(*config.Platform()),
		layout.WithAnnotations(map[string]string{ocispec.AnnotationRefName: version}),
	); err != nil {
		return err
	}
	if err := os.RemoveAll(output); err != nil {
		return err
	}
	return os.Rename(fresh, output)
}
