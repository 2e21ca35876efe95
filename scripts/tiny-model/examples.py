"""Written by hand: what the teacher is shown before its task, so that it writes as simply and as briefly."""

STORIES = [
    ("an old boat", "Once upon a time, there was an old boat near the sea.",
     "Nobody wanted to sail in it. One day, a boy named Tim saw the boat. \"Poor boat,\" he said. \"I will help you.\" Tim cleaned the boat and painted it blue. He worked for three days. Then he pushed the boat into the water. It did not sink! The boat was so happy. Tim and the boat went to catch fish every morning, and they were friends for a long time."),
    ("a shy mouse", "Mia was a shy mouse. Every day, Mia liked to listen to stories.",
     "But she was too afraid to talk to anyone. One evening, it began to rain, and a wet bird came to her door. \"May I come in?\" asked the bird. Mia was scared, but the bird looked very cold. \"Yes,\" she said. She gave the bird a warm blanket and some soup. The bird told her a story about the sea. Then Mia told a story too. It was the first time she told a story to someone. After that night, Mia was not so shy any more."),
    ("Ben", "One day, Ben lost a key.",
     "It was the key to his house. He looked under the table, and he looked in the garden, but the key was not there. \"I will never find it,\" said Ben. He sat down and began to cry. His little sister came and asked, \"Did you look in your pocket?\" Ben put his hand in his pocket. There was the key! Ben laughed. \"Thank you,\" he said. \"Next time I will look there first.\""),
    ("a hungry bear", "It was a cold day. A hungry bear named Max woke up very early.",
     "He went out to look for food. He walked and walked, but he found only snow. Then he saw a rabbit with a big basket of carrots. \"Can I have one?\" asked Max. The rabbit was afraid of the bear. But Max smiled and said please. So the rabbit gave him two carrots. \"They are very good!\" said Max. Then he carried the heavy basket home for the rabbit. They ate soup together by the fire."),
    ("Lucy and Paul", "\"Can we fly a kite?\" asked Lucy. \"Yes,\" said Paul.",
     "They took the red kite and ran up the hill. The wind was strong. The kite went up and up. Then the rope broke, and the kite flew away over the trees. Lucy was very sad. Paul said, \"Let us follow it!\" They ran through the woods and over the bridge. At last, they saw the kite in a tall tree. A man with a ladder helped them. Lucy held the kite with both hands all the way home."),
    ("a proud queen", "Long ago, in an old castle, there lived a proud queen.",
     "She had the best coat in the land, and she never let anyone touch it. One winter, a poor woman came to the castle. She had no coat at all. The queen looked at her own coat. Then she looked at the woman, who was cold and weak. The queen took off her coat and gave it away. \"Now I am cold,\" she said, \"but my heart is warm.\" All the people loved their queen from that day on."),
    ("a small star", "Once there was a small star, who loved to look at the world.",
     "Every night it saw the children go to bed. \"I want to play with them,\" said the star. So it jumped down from the sky. It fell into a garden and made a soft light in the grass. A girl named Anna found it. They played until the moon was high. But then the star felt weak, and it missed the sky. Anna climbed the hill and threw it up as far as she could. Now the star shines over her house each night."),
    ("a lazy dog", "Tom had a lazy dog. They liked to sleep in the sun together.",
     "The dog slept all day and never wanted to run. One afternoon, Tom fell into the pond. He could not swim well. \"Help!\" he cried. The lazy dog opened one eye. Then he jumped up, ran to the pond and pulled Tom out of the water. \"You are not lazy,\" said Tom. \"You are the best dog in the world.\" The dog wagged his tail. Then he lay down and went back to sleep."),
]

FACTS = [
    ("What is a bridge?", "A bridge is", "a way to cross over water or over a road. People walk or drive on it to get to the other side."),
    ("Why do cows eat grass?", "Cows eat grass because", "it gives them the food they need. It makes them strong, and then they can make milk."),
    ("How can I keep my room clean?", "You can", "put your toys in a box after you play. Pick up your clothes and make your bed each morning."),
    ("Where does a bee live?", "A bee lives", "in a hive with many other bees. They make honey there and take care of the queen."),
    ("What does a baker do?", "A baker", "makes bread and cakes. The baker gets up very early, so that the bread is warm in the morning."),
    ("What is snow?", "Snow is", "frozen water that falls from the clouds in winter. It is white, soft and very cold."),
    ("How does a lemon taste?", "A lemon tastes", "very sour. If you add sugar and water, it makes a sweet drink."),
    ("What do people do with a rope?", "People use a rope to", "tie things together or to pull something heavy. Children also jump over a rope for fun."),
]
