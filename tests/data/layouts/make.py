"""Makes tiny data sets in published layouts from the exams of ../code-15 (Python with h5py and numpy).

Two seconds of every exam are taken, so that the files stay small; only the arrangement is that of the other set. The labels,
ages and names are made up.
"""
import pathlib

import h5py
import numpy as np

here = pathlib.Path(__file__).parent
exams = h5py.File(here / "../code-15/exams_part.hdf5")["tracings"][:]
pieces = [exam[1000:1800] for exam in exams]


def write(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            chunks = (1, *values.shape[1:]) if values.ndim == 3 else None
            file.create_dataset(name, data=values, chunks=chunks, compression="gzip" if chunks else None, shuffle=bool(chunks))


def padded(piece):
    return np.pad(piece, ((112, 112), (0, 0))).astype("f4")


# The CODE test set with the augmented leads as its older description has them: aVL, aVF, aVR.
older = [0, 1, 2, 4, 5, 3, 6, 7, 8, 9, 10, 11]
test = here / "code-test/data"
write(test / "ecg_tracings.hdf5", tracings=np.stack([padded(p[:, older]) for p in pieces]))
(test / "annotations").mkdir(exist_ok=True)
# AF before ST, unlike exams.csv of CODE-15%.
head = "1dAVb,RBBB,LBBB,SB,AF,ST\n"
rows = ["1,0,0,0,0,0\n", "0,1,0,0,0,1\n", "0,0,0,0,1,0\n"]
(test / "annotations/gold_standard.csv").write_text(head + "".join(rows))
for name in ["cardiologist1", "cardiologist2", "cardiology_residents", "emergency_residents", "medical_students"]:
    (test / f"annotations/{name}.csv").write_text(head + "".join(rows[::-1]))
(test / "annotations/dnn.csv").write_text("," + head + "".join(f"{i},{row}" for i, row in enumerate(rows)))
(test / "attributes.csv").write_text("age,sex\n46,M\n54,M\n68,F\n")

# SaMi-Trop: rows and tracings belong together by their order.
write(here / "sami-trop/exams.hdf5", tracings=np.stack([padded(p) for p in pieces]))
(here / "sami-trop/exams.csv").write_text(
    "exam_id,age,is_male,normal_ecg,death,timey,nn_predicted_age\n"
    "100726,61,True,False,True,1.5,66.1\n101191,48,False,True,False,2.1,50.0\n999,70,False,False,False,2.0,71.5\n"
)

# SPH: one file a record, leads x samples, in mV, 500 Hz.
for name, piece in zip(["A00001", "A00002"], pieces):
    write(here / f"sph/records/{name}.h5", ecg=(piece.T / 10).astype("f4"))
(here / "sph/metadata.csv").write_text(
    "ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date\n"
    "A00001,22;23,S00001,55,M,800,2020-03-04\nA00002,60+310;145+346;1,S00002,37,F,800,2019-09-03\n"
    "A00003,85,S00001,37,F,5000,2020-07-16\n"
)
(here / "sph/code.csv").write_text("Category,Code,Description\nB,22,Sinus bradycardia\nH,60,Ventricular premature complex(es)\n,310,Multiform\n,346,Inferior\n")
