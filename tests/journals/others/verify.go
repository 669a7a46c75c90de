// Verifies a tile log with the reference implementation of Go's checksum database: golang.org/x/mod/sumdb.
// It shares nothing with the code that writes the log. See verify.sh for how it is run.
//
// verify LOG VKEY: the signature of the checkpoint, and every entry against the tree that it signs.
// verify -from NOTE LOG VKEY: also that the checkpoint noted earlier is the beginning of that tree.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type reader struct{ log string }

func (reader) Height() int { return 8 }

func (reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		// The paths of the checksum database have the height in them.
		data, err := os.ReadFile(filepath.Join(r.log, strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", tile.Path(), len(data))
		}
		all = append(all, data)
	}
	return all, nil
}

func checkpoint(path, vkey string) (tlog.Tree, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("%s is no checkpoint of %s", path, verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

func verify(log, vkey, noted string) error {
	tree, err := checkpoint(filepath.Join(log, "checkpoint"), vkey)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, reader{log})
	if noted != "" {
		old, err := checkpoint(noted, vkey)
		if err != nil {
			return err
		}
		if tree.N < old.N {
			return fmt.Errorf("the log has %d entries, and had %d", tree.N, old.N)
		}
		if 0 < old.N {
			proof, err := tlog.ProveTree(tree.N, old.N, hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
				return err
			}
		}
		fmt.Printf("it begins with the %d entries that were noted\n", old.N)
	}
	for first := int64(0); first < tree.N; first += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: 256}
		if tree.N-first < 256 {
			tile.W = int(tree.N - first)
		}
		name := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(log, name))
		if err != nil {
			return err
		}
		var indexes []int64
		for index := first; index < first+int64(tile.W); index++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, index))
		}
		known, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for number, hash := range known {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("%s ends within an entry", name)
			}
			length := int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:2+length]) != hash {
				return fmt.Errorf("mismatch at record %d", first+int64(number)+1)
			}
			data = data[2+length:]
		}
		if len(data) != 0 {
			return fmt.Errorf("%s has more than its entries", name)
		}
	}
	fmt.Printf("all %d entries are what was signed\n", tree.N)
	return nil
}

func main() {
	noted := flag.String("from", "", "a checkpoint noted earlier")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: verify [-from NOTE] LOG VKEY")
		os.Exit(1)
	}
	if err := verify(flag.Arg(0), flag.Arg(1), *noted); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
