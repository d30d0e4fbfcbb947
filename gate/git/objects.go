package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/rules"
)

// objects is one running git cat-file --batch: a question is a line, so that no
// name can ever be taken for an option.
type objects struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	cancel context.CancelFunc
}

func (o *objects) close() {
	o.in.Close()
	o.cancel()
	_ = o.cmd.Wait() // it was told to end
}

// object is the answer to one question.
type object struct {
	id   rules.SHA
	kind string // commit, tree, blob, tag
	size int64
	data []byte
}

var errMissing = errors.New("no such object")

// ask names an object in git's extended notation and reads up to limit bytes of
// it. The error is errMissing if there is none.
func (r *Repository) ask(ctx context.Context, name string, limit int64) (object, error) {
	if strings.ContainsAny(name, "\n\x00") {
		return object{}, errMissing
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	if r.objects == nil {
		o, err := r.startObjects()
		if err != nil {
			return object{}, err
		}
		r.objects = o
	}
	// The process outlives this call; a call that is given up ends it.
	stop := context.AfterFunc(ctx, r.objects.cancel)
	defer stop()
	a, err := r.objects.ask(name, limit)
	if err != nil && !errors.Is(err, errMissing) {
		r.objects.close()
		err = failure(ctx, r.objects.cmd, "cat-file", err)
		r.objects = nil
	}
	return a, err
}

func (r *Repository) startObjects() (*objects, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := r.command(ctx, "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	return &objects{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 64<<10), cancel: cancel}, nil
}

func (o *objects) ask(name string, limit int64) (object, error) {
	if _, err := io.WriteString(o.in, name+"\n"); err != nil {
		return object{}, err
	}
	return readObject(o.out, limit)
}

// readObject reads one answer of git cat-file --batch: a header line, the
// content and a line feed. Of a longer object only limit bytes are kept.
func readObject(in *bufio.Reader, limit int64) (object, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return object{}, err
	}
	line = strings.TrimSuffix(line, "\n")
	if strings.HasSuffix(line, " missing") || strings.HasSuffix(line, " ambiguous") || strings.HasSuffix(line, " submodule") {
		return object{}, errMissing
	}
	f := strings.Split(line, " ")
	if len(f) != 3 {
		return object{}, fmt.Errorf("unexpected answer %q", line)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || size < 0 {
		return object{}, fmt.Errorf("unexpected answer %q", line)
	}
	a := object{id: rules.SHA(f[0]), kind: f[1], size: size}
	a.data = make([]byte, min(size, limit))
	if _, err := io.ReadFull(in, a.data); err != nil {
		return object{}, err
	}
	if _, err := io.CopyN(io.Discard, in, size-int64(len(a.data))+1); err != nil {
		return object{}, err
	}
	return a, nil
}

// ReadFile reads a file as it stands at a commit. The path is relative to the
// root, with slashes. The error wraps [fs.ErrNotExist] if there is no such file;
// a symlink, a submodule's place or a file of more than limit bytes is an error.
func (r *Repository) ReadFile(ctx context.Context, commit rules.SHA, path string, limit int64) ([]byte, error) {
	a, err := object{}, errMissing
	if fs.ValidPath(path) {
		a, err = r.ask(ctx, string(commit)+":"+path, limit)
	}
	if errors.Is(err, errMissing) || err == nil && a.kind != "blob" {
		return nil, fmt.Errorf("%q at %s: %w", path, commit.Short(), fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if a.size > limit {
		return nil, fmt.Errorf("%q at %s has %d bytes, more than %d", path, commit.Short(), a.size, limit)
	}
	return a.data, nil
}

// Tree lists the paths of all files at a commit, in git's order. Symlinks and
// submodules are not among them. The error says so if there are more than
// [MaxTree].
func (r *Repository) Tree(ctx context.Context, commit rules.SHA) ([]string, error) {
	var paths []string
	err := r.records(ctx, func(rec string) error {
		// 100644 blob OID<TAB>path
		meta, path, ok := strings.Cut(rec, "\t")
		if !ok {
			return fmt.Errorf("unexpected record %q", rec)
		}
		if !strings.HasPrefix(meta, "100") {
			return nil
		}
		if len(paths) == MaxTree {
			return fmt.Errorf("more than %d files", MaxTree)
		}
		paths = append(paths, path)
		return nil
	}, "ls-tree", "-r", "-z", "--full-tree", string(commit))
	return paths, err
}

// records runs a command and hands on its output, record by record, each ended
// by a NUL.
func (r *Repository) records(ctx context.Context, each func(string) error, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	cmd := r.command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("git %s: %w", args[0], err)
	}
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 0, 32<<10), maxPath)
	scan.Split(splitNUL)
	var stop error
	for stop == nil && scan.Scan() {
		stop = each(scan.Text())
	}
	if stop == nil {
		stop = scan.Err()
	}
	if stop != nil {
		cancel()
		_ = cmd.Wait() // it was cut off
		return fmt.Errorf("git %s: %w", args[0], stop)
	}
	if err := cmd.Wait(); err != nil {
		return failure(ctx, cmd, args[0], err)
	}
	return nil
}

// splitNUL is a bufio.SplitFunc for records that each end with a NUL. A last one
// that does not is an error: the output was cut.
func splitNUL(data []byte, atEOF bool) (int, []byte, error) {
	for i, c := range data {
		if c == 0 {
			return i + 1, data[:i], nil
		}
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}
