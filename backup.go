package ringback

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// A backup is a folder with these in it. The names are those that a gateway without
// configuration looks for, so a copy of the folder is restored.
const (
	BackupStore    = "ringback.db"
	BackupBodies   = "ringback-bodies"
	backupManifest = "backup.json"
	backupFormat   = 1
)

// Errors about backups.
var (
	// ErrBackupRunning is returned while another backup is made.
	ErrBackupRunning = errors.New("a backup is being made already")
	// ErrNoBackup is returned for a folder that holds no backup, or one that was
	// not finished.
	ErrNoBackup = errors.New("the folder holds no finished backup")
	// ErrNewerBackup is returned for one that a later version has made.
	ErrNewerBackup = errors.New("the backup was made by a newer version of ringback")
)

// BackupManifest says what a backup holds. It is written last: a folder without it
// is no whole backup.
type BackupManifest struct {
	Format int `json:"format"`
	// Version of the program that made it.
	Version string `json:"version"`
	// CreatedAt is when it began: all that was acknowledged until then is in it.
	CreatedAt time.Time `json:"created_at"`
	// StoreBytes and StoreSHA256 are of the store's file.
	StoreBytes  int64  `json:"store_bytes"`
	StoreSHA256 string `json:"store_sha256"`
	job.Contents
	// Linked are the bodies that share their disk space with the gateway's own,
	// Missing those that the store names and that were not there, or not whole.
	Linked  int64 `json:"linked_bodies"`
	Missing int64 `json:"missing_bodies"`
}

// BackupSource is a store that can be copied while it is in use.
type BackupSource interface {
	// Backup copies the store, as it is at one moment, into a new file at path, and
	// calls stored for each body that the copy names. copied hears how many bytes of
	// how many are written. The copy MUST be synced.
	Backup(ctx context.Context, path string, copied func(done, total int64), stored func(job.Body) error) (job.Contents, error)
}

// BackupOptions say what to back up. All of them are required.
type BackupOptions struct {
	Store   BackupSource
	BodyDir string // where the store's bodies are
	Version string
	Now     func() time.Time
	// Progress hears how far it is, often; of bodies Total is 0.
	Progress func(BackupProgress)
}

// BackupProgress is how far a backup is, in bytes.
type BackupProgress struct {
	Bodies      bool // else the store
	Done, Total int64
}

// Backup copies what the gateway keeps, as it is at one moment, into the folder dir,
// which must not be there yet. The gateway works on meanwhile, but deletes no bodies.
// The seal key is not in it. progress may be nil.
func (g *Gateway) Backup(ctx context.Context, dir string, progress func(BackupProgress)) (*BackupManifest, error) {
	source, ok := g.store.(BackupSource)
	if !ok {
		return nil, errors.New("this kind of store is backed up with tools of its own")
	}
	if !g.backup.TryLock() {
		return nil, ErrBackupRunning
	}
	defer g.backup.Unlock()
	if progress == nil {
		progress = func(BackupProgress) {}
	}
	release := g.bodies.Hold()
	m, err := Backup(ctx, dir, BackupOptions{Store: source, BodyDir: g.opt.BodyDir, Version: g.opt.Version, Now: g.opt.Now, Progress: progress})
	if rerr := release(); rerr != nil {
		// The next start sweeps them away.
		g.opt.Log.Warn("delete the bodies that a backup had kept", "error", rerr)
	}
	if err != nil {
		return nil, err
	}
	if aerr := g.store.Audit(ctx, job.Audit{Action: job.BackupCreate, Subject: dir}); aerr != nil {
		g.opt.Log.Error("write the audit log", "action", job.BackupCreate, "error", aerr) // the backup is good all the same
	}
	return m, nil
}

// Backup copies a store and its bodies into the folder dir, which must not be there
// yet; it leaves none where it fails. Nobody may delete bodies meanwhile. Of a store
// that a gateway works on, Gateway.Backup makes one.
func Backup(ctx context.Context, dir string, opt BackupOptions) (_ *BackupManifest, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up: %w", errors.Join(err, os.RemoveAll(dir)))
		}
	}()
	m := &BackupManifest{Format: backupFormat, Version: opt.Version, CreatedAt: opt.Now().UTC()}
	bodies, err := body.NewCopy(opt.BodyDir, filepath.Join(dir, BackupBodies))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, BackupStore)
	var done int64
	m.Contents, err = opt.Store.Backup(ctx, path,
		func(done, total int64) { opt.Progress(BackupProgress{Done: done, Total: total}) },
		func(b job.Body) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if body.Verify(opt.BodyDir, b) != nil {
				m.Missing++ // a backup of all the rest is better than none
				return nil
			}
			done += b.Size
			opt.Progress(BackupProgress{Bodies: true, Done: done})
			return bodies.Add(ctx, b)
		})
	m.Linked = bodies.Linked
	if err = errors.Join(err, bodies.Close()); err != nil {
		return nil, err
	}
	if m.StoreBytes, m.StoreSHA256, err = digest(path); err != nil {
		return nil, err
	}
	return m, m.write(dir)
}

func digest(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

// write makes the backup a whole one: all else in it is synced before.
func (m *BackupManifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, backupManifest)
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close(), syncFolder(dir)); err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	return errors.Join(syncFolder(dir), syncFolder(filepath.Dir(dir)))
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ReadBackup reads the manifest of a backup, and makes sure that the store's file in
// it is the one that was written. It is ErrNoBackup where there is no manifest.
func ReadBackup(dir string) (m *BackupManifest, unchanged bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, backupManifest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("%w: %s is not in %s", ErrNoBackup, backupManifest, dir)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read backup: %w", err)
	}
	m = &BackupManifest{}
	if err := json.Unmarshal(text, m); err != nil || m.Format == 0 {
		return nil, false, fmt.Errorf("%w: %s cannot be read", ErrNoBackup, backupManifest)
	}
	if m.Format > backupFormat {
		return nil, false, ErrNewerBackup
	}
	size, sum, err := digest(filepath.Join(dir, BackupStore))
	if err != nil {
		return nil, false, fmt.Errorf("read backup: %w", err)
	}
	return m, size == m.StoreBytes && sum == m.StoreSHA256, nil
}
