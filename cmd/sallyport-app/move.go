package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/store"
)

func (a *app) moveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "move-database (URL | --to-file FILE)",
		Short: "Move everything from the SQLite file into an empty PostgreSQL database",
		Long: `Move everything from the SQLite file of SALLYPORT_DATABASE_URL into an empty database of
PostgreSQL, whose role owns it. Stop every server first.

Each row is compared after it was written, and the ledger is verified before and after:
what others saw of it holds on. The file is then closed for good, since two servers
that went on from one ledger would make two histories. If it fails the file is as it
was. A password is better not in the URL, which others on this machine can see: write
the URL to a file and give --to-file, or set PGPASSWORD or PGPASSFILE.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args)+min(len(file), 1) != 1 {
				return usage(errors.New("want either a URL or --to-file FILE"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args, "")
			if file != "" {
				data, err := os.ReadFile(file)
				if err != nil {
					return usage(err)
				}
				text = strings.TrimSpace(string(data))
			}
			return a.move(cmd.Context(), text)
		},
	}
	c.Flags().StringVar(&file, "to-file", "", "file with the URL to move to")
	return c
}

func (a *app) move(ctx context.Context, text string) error {
	s, err := a.settings(false)
	if err != nil {
		return err
	}
	to, err := store.ParseURL(text)
	switch {
	case err != nil:
		return usage(fmt.Errorf("the URL to move to: %w", err))
	case to.URL == "":
		return usage(errors.New("the URL to move to: want postgres://…"))
	case s.Database.Path == "":
		return usage(errors.New("SALLYPORT_DATABASE_URL is no SQLite file: that is what is moved"))
	}
	moved, head, err := server.Move(ctx, s, to)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%d rows of %d tables moved; the ledger has %d entries, as before, and verifies\n", moved.Rows, moved.Tables, head.Size)
	if head.Size > 0 {
		fmt.Fprintf(a.stdout, "  its root: %s\n", head.Witness())
	}
	fmt.Fprintf(a.stdout, "  %s is closed for good. Next: set SALLYPORT_DATABASE_URL, or SALLYPORT_DATABASE_URL_FILE, to the URL, and start the servers.\n", s.Database.Path)
	return nil
}
