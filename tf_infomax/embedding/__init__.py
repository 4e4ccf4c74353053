"""Features of all images below a folder, in constant memory, safe to kill.

    embedder = from_model(encoder, "code")
    embed_folder(embedder, ImageFolder("photos"), Path("codes.npz"), FORMATS["npz"])

* `embedder`: one feature of a frozen encoder as a function;
* `parts`: what is done so far, on the disk;
* `formats`: how the output is written, one row each in `FORMATS`;
* `job`: the whole.
"""
