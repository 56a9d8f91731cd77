package savedtest

import (
	"compress/gzip"
	"io"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// WriteRoot writes an image of this machine's architecture whose one layer is the tar archive root, a file, with a shell as
// its command and path as its PATH, empty for the usual one. The layer is not compressed: that takes longer than all else.
func WriteRoot(w io.Writer, image, root, path string) error {
	layer, err := tarball.LayerFromFile(root, tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture, f.Config.Cmd = "linux", runtime.GOARCH, []string{"/bin/sh"}
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	f.Config.Env = []string{"PATH=" + path}
	if img, err = mutate.ConfigFile(img, f); err != nil {
		return err
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	return tarball.Write(ref, img, w)
}
